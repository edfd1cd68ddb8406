"""Tables, sentences and complaints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.cli._documents import resolve_kind
from podium.cli._output import complain, print_json, print_table, printable
from podium.core.errors import OperatorError
from podium.core.resources import SPECS


@given(st.text())
def test_printable_text_holds_no_control_character(text):
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


def test_printable_keeps_lines_only_where_they_are_wanted():
    assert printable("a\nb\tc\x1b", lines=True) == "a\nb\tc\\x1b"
    assert printable("a\nb") == "a\\nb"
    assert printable("Grüße 🚀 [red]") == "Grüße 🚀 [red]"


def test_a_table_that_is_piped_is_never_cut(capsys):
    print_table(("name", "count"), [("x" * 500, 1234567)], empty="nothing")
    head, _, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "count"]
    assert row.split() == ["x" * 500, "1,234,567"]


def test_markup_in_data_stays_text(capsys):
    print_table(("name", "yes", "none"), [("[red]x[/red]", True, None)], empty="nothing")
    assert "[red]x[/red]" in capsys.readouterr().out


def test_json_is_one_document(capsys):
    print_json({"a": (1, None)})
    assert capsys.readouterr().out == '{\n  "a": [\n    1,\n    null\n  ]\n}\n'


def test_each_line_of_an_error_is_a_sentence_of_its_own(capsys):
    complain(OperatorError("one\ntwo \x1b[31m", hint="do this"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "podium: one\npodium: two \\x1b[31m\nhint: do this\n"


@pytest.mark.parametrize("kind", SPECS)
def test_a_kind_is_known_by_all_of_its_spellings(kind):
    plural = kind[:-1] + "ies" if kind.endswith("y") else kind + "s"
    for word in (kind, kind.lower(), kind.upper(), plural, plural.lower()):
        assert resolve_kind(word) == kind
