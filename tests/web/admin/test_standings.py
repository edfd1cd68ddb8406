from podium.core.standings import Standings


class Gateways:
    def __init__(self):
        self.asked = []

    async def ask(self, query, presented):
        self.asked.append((query, presented))
        return (Standings(place="g-1"),)


def test_limits_and_budgets_are_told_with_the_operators_key(house, client):
    gateways = house.plane.standings._gateways = Gateways()
    bob = house.bob.record.entry.id
    limits = client.get("/admin/v1/limits", params={"key": bob, "ip": "::1"}).json()
    budgets = client.get("/admin/v1/budgets", params={"tenant": "acme", "tags": "a=b", "limit": 3}).json()
    assert limits["places"][0]["place"] == budgets["places"][0]["place"] == "g-1"
    (first, presented), (second, _) = gateways.asked
    assert (first.key, first.tenant, first.ip, presented) == (bob, "acme", "::1", house.alice.text)
    assert (second.tags, second.most, second.key) == ("a=b", 3, "")


def test_what_is_not_there_is_told(client):
    assert client.get("/admin/v1/limits", params={"key": "nobody"}).status_code == 404
    assert client.get("/admin/v1/budgets", params={"budget": "none"}).status_code == 404
    assert client.get("/admin/v1/budgets", params={"tags": "nonsense"}).status_code == 400
    assert client.get("/admin/v1/budgets", params={"limit": 0}).status_code == 400
    assert client.get("/admin/v1/budgets/repair").status_code == 404


def test_only_operators_are_told(stranger):
    for path in ("limits", "budgets", "budgets/repair"):
        assert stranger.get(f"/admin/v1/{path}").status_code == 401


def test_the_repair_tells_what_it_has_done(house, client):
    class Repair:
        from podium.control.budget_repair import RepairStatus

        status = RepairStatus(rounds=3, corrections=1)

    house.plane.repair = Repair()
    told = client.get("/admin/v1/budgets/repair").json()
    assert (told["rounds"], told["corrections"], told["last"]) == (3, 1, None)
