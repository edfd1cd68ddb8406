"""What wrk sends."""

from harness.load.scripts import SUBJECT_MODEL, Subjects, subject_key, wrk_script
from harness.request import MODEL, chat_request

from podium.identity.keys import parse_api_key


def test_a_subjects_key_is_a_well_formed_key_of_its_own():
    first, last = parse_api_key(subject_key(0)), parse_api_key(subject_key(999_999))
    assert first is not None
    assert last is not None
    assert first.id != last.id
    assert first.secret != last.secret


def test_keys_and_models_vary_and_nothing_else_does():
    request = chat_request(80, {"Authorization": "Bearer x"})
    script = wrk_script(request, Subjects(keys=1000, models=10, seed=3))
    assert "random(0, 999), random(0, 9)" in script
    assert MODEL not in script
    assert subject_key(0) not in script
    length = len(request.body) - len(MODEL) + len(SUBJECT_MODEL % 0)
    assert rf"Content-Length: {length}\r\n" in script


def test_without_subjects_each_request_is_the_same():
    script = wrk_script(chat_request(80, {"Authorization": "Bearer x"}))
    assert "wrk.headers[ [==[Authorization]==] ] = [==[Bearer x]==]" in script
    assert "random" not in script
