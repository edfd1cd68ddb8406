"""nginx as a provider that answers each request with one fixed completion: the fastest upstream there is."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.processes import BenchError
from harness.request import COMPLETION, KEY_CHECK_PATH, PEER_KEY

__all__ = ["find_nginx", "nginx_version", "write_mock_configuration"]


def find_nginx() -> str:
    """Path of the nginx binary; Debian keeps it outside of a user's PATH."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BenchError("nginx is not installed: run `make system-packages`")
    return found


def nginx_version() -> str:
    """Such as 1.22.1."""
    output = subprocess.run([find_nginx(), "-v"], capture_output=True, text=True, check=True, timeout=10).stderr
    return output.strip().rpartition("/")[2]


def write_mock_configuration(folder: Path, ports: Sequence[int]) -> list[str]:
    """Write the configuration of a provider that listens on all of `ports`; the command that runs it."""
    listen = "\n        ".join(f"listen 127.0.0.1:{port} backlog=8192;" for port in ports)
    configuration = folder / "mock.conf"
    configuration.write_text(
        f"""
daemon off;
master_process off;
pid {folder}/mock.pid;
error_log {folder}/mock.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/mock-body;
    proxy_temp_path {folder}/mock-proxy;
    fastcgi_temp_path {folder}/mock-fastcgi;
    uwsgi_temp_path {folder}/mock-uwsgi;
    scgi_temp_path {folder}/mock-scgi;
    server {{
        {listen}
        default_type application/json;
        location = /bench/served {{ stub_status; }}
        location = {KEY_CHECK_PATH} {{
            if ($http_authorization = "Bearer {PEER_KEY}") {{ return 200 "{{}}"; }}
            return 401 "{{}}";
        }}
        location /v1/chat/completions {{ return 200 '{COMPLETION}'; }}
        location / {{ return 200 '{{"object":"list","data":[]}}'; }}
    }}
}}
"""
    )
    return [find_nginx(), "-p", str(folder), "-c", str(configuration)]
