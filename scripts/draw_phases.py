"""Draw the phases of rollouts into docs/rollouts.md, from their table; with --check, say whether they are stale."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from podium.core.rollouts import ACTIVE_PHASES
from podium.delivery.phases import TABLE, Guard

PAGE = Path(__file__).resolve().parents[1] / "docs" / "rollouts.md"
BEGIN = "<!-- Drawn by scripts/draw_phases.py from podium.delivery.phases.TABLE; edit that, then run the script. -->\n"
END = "<!-- Here ends what is drawn. -->\n"
_LABELS_A_LINE = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the page is written, or with --check is what it should be; 1 when it is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is stale")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the drawing goes")
    chosen = parser.parse_args(arguments)
    text = chosen.page.read_text("utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        parser.error(f"{chosen.page} has no place for the drawing")
    drawn = head + BEGIN + "\n" + "\n".join((*picture(), "", *table())) + "\n\n" + END + tail
    if drawn == text:
        return 0
    if chosen.check:
        print(f"{chosen.page} is stale: run scripts/draw_phases.py", file=sys.stderr)
        return 1
    chosen.page.write_text(drawn, "utf-8")
    print(f"wrote {chosen.page}")
    return 0


def picture() -> Iterator[str]:
    """The phases as a Mermaid diagram: an arrow for each two phases, with what leads from one to the other."""
    yield from ("```mermaid", "stateDiagram-v2", "    [*] --> pending")
    arrows: dict[tuple[str, str], dict[str, None]] = {}
    for row in TABLE:
        arrows.setdefault((row.phase, row.to), {})[str(row.happening)] = None
    for (phase, to), happenings in arrows.items():
        words = list(happenings)
        lines = (", ".join(words[at : at + _LABELS_A_LINE]) for at in range(0, len(words), _LABELS_A_LINE))
        yield f"    {phase} --> {to}: {'<br>'.join(lines)}"
    for phase in dict.fromkeys(row.to for row in TABLE):
        if phase not in ACTIVE_PHASES and phase != "pending":
            yield f"    {phase} --> [*]"
    yield "```"


def table() -> Iterator[str]:
    """Every row of the table, in its order."""
    yield from ("| in phase | what happens | when | next phase | reason |", "|---|---|---|---|---|")
    for row in TABLE:
        when = "" if row.guard is Guard.ALWAYS else str(row.guard)
        to = f"{row.to}, next step" if row.next_step else row.to
        reason = f"`{row.reason}`" if row.reason else "as before"
        yield f"| {row.phase} | `{row.happening}` | {when} | {to} | {reason} |"


if __name__ == "__main__":
    sys.exit(main())
