"""What `limits show` and `budget show` have in common."""

from typing import TYPE_CHECKING

from podium.cli._output import printable, say
from podium.cli._times import moment_text

if TYPE_CHECKING:
    from podium.cli._admin_answers import Standings, StandingsReport

__all__ = ["say_last_refused", "say_places"]


def say_places(report: "StandingsReport") -> "list[Standings]":
    """The places that told something; says which did not, and why."""
    for place in report.places:
        if place.error:
            say(printable(place.error))
    if not report.places:
        say("No gateway is known here: set control.gateways, or redis.url when gateways share limits and budgets.")
    return [place for place in report.places if not place.error]


def say_last_refused(report: "StandingsReport") -> None:
    """Why the key's last exchange was refused, when one was."""
    last = report.last_refused
    if last is not None:
        when = moment_text(last.started_unix_s)
        about = f"{last.status} {last.reason} for {last.model}, request {last.request_id}"
        say(printable(f"Last refused: {when}, {about}."))
    elif report.asked.key:
        say("Nothing of this key was refused by limits or budgets in the last hour.")
