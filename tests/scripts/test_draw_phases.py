import importlib.util
from pathlib import Path

import pytest

from podium.delivery.phases import TABLE

PATH = Path(__file__).parents[2] / "scripts" / "draw_phases.py"
SPEC = importlib.util.spec_from_file_location("draw_phases", PATH)
draw_phases = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(draw_phases)


def test_the_page_shows_the_table_as_it_is():
    assert draw_phases.main(["--check"]) == 0


def test_a_stale_page_is_told_and_written_anew(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{draw_phases.BEGIN}what was there\n{draw_phases.END}after\n")

    assert draw_phases.main(["--check", "--page", str(page)]) == 1
    assert "stale" in capsys.readouterr().err
    assert draw_phases.main(["--page", str(page)]) == 0
    assert draw_phases.main(["--check", "--page", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "what was there" not in text


def test_every_way_is_in_the_picture_and_in_the_table():
    picture, table = list(draw_phases.picture()), list(draw_phases.table())
    assert len(table) == len(TABLE) + 2
    for row in TABLE:
        arrow = next(line for line in picture if line.startswith(f"    {row.phase} --> {row.to}:"))
        assert row.happening in arrow


def test_a_page_without_a_place_for_it_is_an_error(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(SystemExit):
        draw_phases.main(["--page", str(page)])
