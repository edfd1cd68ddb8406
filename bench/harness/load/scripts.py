"""What wrk is told to send, as a Lua script."""

from dataclasses import dataclass

from harness.load.connection import encode_request
from harness.request import MODEL, Request

__all__ = ["SUBJECT_MODEL", "Subjects", "subject_key", "wrk_script"]

SUBJECT_MODEL = "model-%05d"  # the public name of a model by its number
_KEY = "pk_%012d_%040d"  # an API key in clear by its number, twice; of the form of podium.identity.keys

_DONE = """
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("bench %d %d %d %.1f %.1f %.3f\\n", summary.duration, summary.requests,
    e.status + e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99), os.clock()))
end
"""


@dataclass(frozen=True, slots=True)
class Subjects:
    """Each request has the key of one number below `keys`, and a model below `models`, drawn evenly."""

    keys: int
    models: int
    seed: int


def subject_key(number: int) -> str:
    """The API key with that number."""
    return _KEY % (number, number)


def wrk_script(request: Request, subjects: Subjects | None = None) -> str:
    """The same request over and over; with `subjects`, with another key and model each time."""
    return (_fixed(request) if subjects is None else _varied(request, subjects)) + _DONE


def _fixed(request: Request) -> str:
    headers = "".join(f"wrk.headers[ [==[{name}]==] ] = [==[{value}]==]\n" for name, value in request.headers.items())
    return f'wrk.method = "POST"\nwrk.body = [==[{request.body}]==]\n{headers}'


def _varied(request: Request, subjects: Subjects) -> str:
    key, model = subject_key(0), SUBJECT_MODEL % 0
    headers = {**request.headers, "Authorization": f"Bearer {key}"}
    body = request.body.replace(f'"{MODEL}"', f'"{model}"', 1)
    head, rest = encode_request(Request(request.port, headers, body, request.path)).decode().split(key)
    middle, tail = rest.split(f'"{model}"')
    parts = [part.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n") for part in (head, middle, tail)]
    parts = [part.replace("'", "\\'") for part in parts]
    return f"""
math.randomseed({subjects.seed})
local random, format = math.random, string.format
local head, middle, tail = '{parts[0]}', '{parts[1]}', '{parts[2]}'
function request()
  local key, model = random(0, {subjects.keys - 1}), random(0, {subjects.models - 1})
  return head .. format("{_KEY}", key, key) .. middle .. format('"{SUBJECT_MODEL}"', model) .. tail
end
"""
