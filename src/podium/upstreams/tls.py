"""Trust in https upstreams."""

import ssl

from podium.core.errors import OperatorError
from podium.core.resources import Tls

__all__ = ["tls_context"]


def _no_password() -> str:
    """No password: without this, an encrypted key makes OpenSSL ask for one on the terminal."""
    return ""


def tls_context(tls: Tls) -> ssl.SSLContext:
    """A client context, TLS 1.2 or newer; OperatorError when a file cannot be read."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.certificate_file is not None:
            context.load_cert_chain(tls.certificate_file, tls.key_file, password=_no_password)
    except OSError as error:  # ssl.SSLError is one
        raise OperatorError(f"A TLS file of the provider cannot be read: {error}.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
