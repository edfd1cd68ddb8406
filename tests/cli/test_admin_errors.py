"""What admin commands say when the control process cannot be asked, or says no."""

import pytest

from podium.testing.ports import free_port


def test_without_a_control_process_it_is_one_sentence_and_what_to_do(podium):
    port = free_port()
    done = podium("get", "--admin-port", str(port), code=1)
    assert done.err == (
        f"podium: The control process does not answer at http://127.0.0.1:{port}.\n"
        "hint: Start it with `podium up` or `podium control`, or name its address with --admin-url.\n"
    )
    assert done.out == ""


def test_without_a_key_the_hint_says_where_one_is(podium, house, tmp_path):
    (tmp_path / "data" / "admin.key").unlink()
    done = podium("get", code=1)
    assert done.err.startswith("podium: ")
    assert "hint: " in done.err


def test_a_key_that_is_named_wins_over_the_one_in_the_data_folder(podium, house):
    assert podium("get", "--api-key", "pk_wrong", code=1).err.startswith("podium: ")
    assert podium("get", env={"PODIUM_API_KEY": "pk_wrong"}, code=1).err.startswith("podium: ")
    podium("get", "--api-key", house.admin_key, env={"PODIUM_API_KEY": "pk_wrong"})


def test_the_local_admin_key_stays_on_this_machine(house, tmp_path):
    from podium.cli._options import ToControl

    control = ToControl(data_dir=tmp_path / "data")
    assert control.key_for("http://127.0.0.1:8081") == house.admin_key
    assert control.key_for("http://localhost:8081") == house.admin_key
    assert control.key_for("http://[::1]:8081") == house.admin_key
    assert control.key_for("https://podium.example.org") is None
    assert control.key_for("http://localhost.example.org") is None


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((200, {}, b"<html>"), "answers, but not as this version of Podium expects"),
        ((200, {}, b"{}"), "answers, but not as this version of Podium expects"),
        ((502, {}, b"<html>bad gateway</html>"), "answered with status 502 and nothing that Podium would say."),
        ((500, {}, b'{"error": "text"}'), "answered with status 500 and nothing that Podium would say."),
        ((400, {}, b'{"error": {"message": "one\\u001b[31m"}}'), "podium: one\\x1b[31m\n"),
        ((302, {"location": "http://127.0.0.1:1/"}, b""), "answered with status 302"),
    ],
)
def test_an_answer_that_is_not_podiums_is_one_sentence(podium, serve, answer, sentence):
    with serve(lambda *_: answer) as url:
        done = podium("get", "--admin-url", url, code=1)
    assert sentence in done.err
    assert done.err.count("podium: ") == 1
    assert "\x1b" not in done.err


def test_an_address_that_is_none_is_one_sentence(podium):
    assert "is not an http:// or https:// address." in podium("get", "--admin-url", "nonsense", code=1).err
    assert podium("get", "--admin-url", "http://[", code=1).err.startswith("podium: ")
    assert podium("get", "--admin-url", "http://a b/", code=1).err.startswith("podium: ")


def test_the_address_comes_from_the_settings_unless_it_is_named(tmp_path, monkeypatch):
    from podium.cli._options import ToControl, ToGateway

    monkeypatch.chdir(tmp_path)
    (tmp_path / "podium.yaml").write_text("admin: {port: 1001, host: 0.0.0.0}\ngateway: {port: 1002, host: '::1'}\n")
    assert ToControl().peer().url == "http://127.0.0.1:1001"
    assert ToGateway().peer().url == "http://[::1]:1002"
    monkeypatch.setenv("PODIUM_ADMIN_URL", "http://control:1/admin/v1/")
    monkeypatch.setenv("PODIUM_URL", "http://gateway:1/v1")
    assert ToControl().peer().url == "http://control:1"
    assert ToGateway().peer().url == "http://gateway:1"
    assert ToControl(admin_port=1003).peer().url == "http://127.0.0.1:1003"
    assert ToControl(admin_port=1003, admin_url="http://named:1").peer().url == "http://named:1"


def test_a_wrong_configuration_is_told_before_the_control_process_is_asked(podium, tmp_path):
    (tmp_path / "podium.yaml").write_text("admin: {port: x}\n")
    done = podium("get", code=78)
    assert done.err.startswith(
        "podium: podium.yaml:1: admin.port: expected an integer from 0 to 65535, got 'x'\nhint: "
    )
