"""Amazon's own description of the Converse API, and frames as Bedrock sends them."""

import base64
import json
import re
import struct
from pathlib import Path
from zlib import crc32

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

GOLDEN = Path(__file__).parent / "golden"


def pytest_generate_tests(metafunc):
    """`request_pair`, `answer_pair` and `stream_pair` are each file of that folder in turn."""
    for kind in ("request", "answer", "stream"):
        if f"{kind}_pair" in metafunc.fixturenames:
            paths = sorted((GOLDEN / f"{kind}s").glob("*.json"))
            pairs = [json.loads(path.read_text()) for path in paths]
            metafunc.parametrize(f"{kind}_pair", pairs, ids=[path.stem for path in paths])


@pytest.fixture(scope="session")
def bedrock():
    """The service's description, as botocore ships it."""
    return ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"), "bedrock-runtime")


@pytest.fixture(scope="session")
def check_shape(bedrock):
    """Asserts that a decoded value is what a shape of the service demands: botocore's check, and the limits."""

    def check(value, shape_name):
        shape = bedrock.shape_for(shape_name)
        report = ParamValidator().validate(value, shape)
        assert not report.has_errors(), report.generate_report()
        _check_limits(value, shape)

    return check


def _check_limits(value, shape):
    """Patterns, lists of values, and upper limits: botocore leaves them to the service."""
    limits = shape.metadata
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        for name, member in shape.members.items():
            if name in value:
                _check_limits(value[name], member)
    elif shape.type_name == "list":
        assert len(value) <= limits.get("max", len(value))
        for item in value:
            _check_limits(item, shape.member)
    elif shape.type_name == "string":
        assert value in limits.get("enum", [value])
        assert len(value) <= limits.get("max", len(value))
        assert re.fullmatch(limits["pattern"], value) if "pattern" in limits else True
    elif shape.type_name in ("integer", "long", "float", "double"):
        assert value <= limits.get("max", value)


@pytest.fixture(scope="session")
def with_bytes():
    """A Converse request as Amazon's client takes it: binary values as bytes."""

    def convert(value):
        if isinstance(value, list):
            return [convert(item) for item in value]
        if isinstance(value, dict):
            return {
                name: {"bytes": base64.b64decode(item["bytes"])} if name == "source" else convert(item)
                for name, item in value.items()
            }
        return value

    return convert


def _header(name, value):
    encoded_name, encoded = name.encode(), value.encode()
    return bytes([len(encoded_name)]) + encoded_name + b"\x07" + struct.pack("!H", len(encoded)) + encoded


def _frame(headers, payload):
    prelude = struct.pack("!II", len(headers) + len(payload) + 16, len(headers))
    checked = prelude + struct.pack("!I", crc32(prelude)) + headers + payload
    return checked + struct.pack("!I", crc32(checked))


@pytest.fixture(scope="session")
def raw_frame():
    """Bytes of a frame with these header bytes and this payload."""
    return _frame


@pytest.fixture(scope="session")
def event_frame():
    """Bytes of the frame of an event: `{"messageStart": {...}}`; an exception's name ends so."""

    def encode(event):
        [(name, value)] = event.items()
        kind = "exception" if name.endswith("Exception") else "event"
        headers = _header(f":{kind}-type", name) + _header(":content-type", "application/json")
        return _frame(headers + _header(":message-type", kind), json.dumps(value, separators=(",", ":")).encode())

    return encode


@pytest.fixture(scope="session")
def stream_bytes(event_frame):
    """The body of a streamed answer."""
    return lambda events: b"".join(map(event_frame, events))
