import os
import stat

from podium.engine.child_log import LogRotation, open_log, printed_since, rotate


def write(path, text):
    descriptor = open_log(path)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def test_a_log_is_appended_to_and_readable_by_its_owner_only(tmp_path):
    path = tmp_path / "logs" / "one.log"
    write(path, "a\n")
    write(path, "b\n")
    assert path.read_text() == "a\nb\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_small_or_missing_log_is_left_alone(tmp_path):
    path = tmp_path / "one.log"
    assert rotate(path, LogRotation(10, 2)) is False
    write(path, "123456789")
    assert rotate(path, LogRotation(10, 2)) is False


def test_a_full_log_moves_to_one_and_the_oldest_goes(tmp_path):
    path = tmp_path / "one.log"
    for content in ("first", "second", "third"):
        write(path, content)
        assert rotate(path, LogRotation(5, 2)) is True
    assert path.read_text() == ""
    assert (tmp_path / "one.log.1").read_text() == "third"
    assert (tmp_path / "one.log.2").read_text() == "second"
    assert not (tmp_path / "one.log.3").exists()


def test_keeping_none_cuts_the_log(tmp_path):
    path = tmp_path / "one.log"
    write(path, "12345")
    assert rotate(path, LogRotation(5, 0)) is True
    assert sorted(tmp_path.iterdir()) == [path] and path.stat().st_size == 0


def test_a_writer_goes_on_after_a_rotation_at_the_new_beginning(tmp_path):
    path = tmp_path / "one.log"
    descriptor = open_log(path)
    os.write(descriptor, b"before\n")
    rotate(path, LogRotation(1, 1))
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    assert path.read_bytes() == b"after\n"
    assert (tmp_path / "one.log.1").read_bytes() == b"before\n"


def test_the_last_plain_lines_of_a_run_are_found(tmp_path):
    path = tmp_path / "one.log"
    write(path, "old complaint\n")
    start = path.stat().st_size
    write(path, '{"event": "started"}\n\npodium: it is wrong\nhint: mend it\n')
    assert printed_since(path, start) == "podium: it is wrong\nhint: mend it"


def test_only_the_last_lines_are_kept(tmp_path):
    path = tmp_path / "one.log"
    write(path, "".join(f"{number}\n" for number in range(100)))
    assert printed_since(path, 0, lines=2) == "98\n99"


def test_a_log_that_was_rotated_meanwhile_is_read_from_its_beginning(tmp_path):
    path = tmp_path / "one.log"
    write(path, "new\n")
    assert printed_since(path, 1000) == "new"


def test_nothing_printed_is_empty(tmp_path):
    assert printed_since(tmp_path / "none.log", 0) == ""
