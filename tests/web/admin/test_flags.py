from podium.core.standings import FlagUse, Standings

BETA = """
kind: Flag
name: beta
spec: {type: string, variants: {off: "", x: hello}, rules: [{when: [{attribute: roles, in: [staff]}], variant: x}]}
"""


class Gateways:
    def __init__(self):
        self.asked = []

    async def ask(self, query, presented):
        self.asked.append(presented)
        use = FlagUse(flag="beta", variant="x", asker="ofrep", count=7, last_unix_s=5.0)
        return (Standings(place="g-1", flags=(use,), flags_since_unix_s=1.0),)


def test_flags_are_told_with_what_gateways_counted(house, client):
    gateways = house.plane.flags._gateways = Gateways()
    assert client.post("/admin/v1/apply", content=BETA, headers={"content-type": "application/yaml"}).is_success

    report = client.get("/admin/v1/flags").json()

    assert (report["flags"][0]["name"], report["flags"][0]["given"], report["gateways"]) == ("beta", {"x": 7}, 1)
    assert report["flags"][0]["changed_by"] == house.author
    assert gateways.asked == [house.alice.text]


def test_a_flag_is_evaluated_as_it_is_declared(client):
    client.post("/admin/v1/apply", content=BETA, headers={"content-type": "application/yaml"})

    found = client.post("/admin/v1/flags/evaluate", json={"flag": "beta", "context": {"roles": ["dev", "staff"]}})
    assert found.status_code == 200
    assert (found.json()["value"], found.json()["reason"]) == ("hello", "TARGETING_MATCH")
    assert client.post("/admin/v1/flags/evaluate", json={"flag": "gone"}).status_code == 404
    assert client.post("/admin/v1/flags/evaluate", json={"flag": "beta", "context": {"a": {}}}).status_code == 400


def test_a_wrong_flag_is_refused_with_its_place(client):
    wrong = BETA.replace("variant: x", "variant: y")

    answer = client.post("/admin/v1/apply", content=wrong, headers={"content-type": "application/yaml"})

    assert answer.status_code == 400
    assert "`rules[0].variant`: there is no variant `y`; there are off, x" in answer.text


def test_only_operators_are_told(stranger):
    assert stranger.get("/admin/v1/flags").status_code == 401
    assert stranger.post("/admin/v1/flags/evaluate", json={"flag": "beta"}).status_code == 401
