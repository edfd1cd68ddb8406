import msgspec
import pytest

from podium.core.flags import Flag
from podium.delivery.flags.flagset import FlagSet


@pytest.fixture(scope="session")
def flags():
    """Makes a set of flags from specs: `flags(beta={"type": "boolean"})`."""

    def make(**specs):
        return FlagSet({name: msgspec.convert(spec, Flag) for name, spec in specs.items()})

    return make
