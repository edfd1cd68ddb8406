from types import SimpleNamespace
from urllib.parse import urlencode

import msgspec
import pytest

from podium.core.errors import Forbidden
from podium.core.standings import Standings, StandingsQuery
from podium.web.standings import STANDINGS_PATH, StandingsPath


class Message(SimpleNamespace):
    def send(self, status, headers, body):
        self.status, self.answer = status, msgspec.json.decode(body)


def asked(tell, fields="", method=b"GET", **headers):
    text = fields if isinstance(fields, str) else urlencode(fields)
    message = Message(
        method=method,
        path=STANDINGS_PATH + text.encode(),
        headers={name.encode(): value for name, value in headers.items()},
    )
    StandingsPath(tell)(message)
    return message


def test_the_query_and_the_key_are_read():
    heard = []

    def tell(key, query):
        heard.append((key, query))
        return Standings(place="gateway-1")

    fields = {"key": "k1", "user": "ann & bob", "limits": "false", "most": "7"}
    answered = asked(tell, fields, authorization=b"Bearer pk_1")
    assert (answered.status, answered.answer["place"]) == (200, "gateway-1")
    assert heard == [("pk_1", StandingsQuery(key="k1", user="ann & bob", limits=False, most=7))]
    assert asked(tell).status == 200
    assert heard[1] == (None, StandingsQuery())


@pytest.mark.parametrize("wrong", ["most=0", "most=x", "key", "%ff=1&&", {"user": "x" * 2000}])
def test_a_query_that_cannot_be_read_is_the_callers_mistake(wrong):
    assert asked(lambda key, query: Standings(place=""), wrong).status == 400


def test_other_methods_and_refusals_are_answered():
    def refuse(key, query):
        raise Forbidden("no")

    assert asked(refuse).status == 403
    assert asked(refuse).answer == {"error": {"message": "no"}}
    assert asked(refuse, method=b"POST").status == 405
