"""`check-config`."""


def test_it_says_what_is_set_and_where(podium, tmp_path):
    (tmp_path / "podium.yaml").write_text("gateway:\n  port: 9000\n")
    done = podium("check-config", "--admin-port", "9001", env={"PODIUM_HOST": "10.0.0.1"})
    rows = [line.split() for line in done.out.splitlines()]
    assert ["gateway.port", "9000", "podium.yaml:2"] in rows
    assert ["gateway.host", "10.0.0.1", "PODIUM_HOST"] in rows
    assert ["admin.port", "9001", "--admin-port"] in rows


def test_without_anything_set_it_says_so(podium):
    assert podium("check-config").out.splitlines()[-1] == "Every setting has its default."


def test_json_holds_every_setting_with_its_origin(podium, tmp_path):
    shown = podium("check-config", "--port", "9000", "--json").json
    assert shown["file"] is None
    assert shown["data_dir"] == str(tmp_path / "data")
    assert shown["settings"]["gateway.port"] == {"value": 9000, "origin": "--port"}
    assert shown["settings"]["admin.port"] == {"value": 8081, "origin": "default"}


def test_a_wrong_configuration_exits_with_78_and_prints_no_json(podium):
    done = podium("check-config", "--json", env={"PODIUM_PROT": "1"}, code=78)
    assert done.out == ""
    assert done.err.startswith("podium: PODIUM_PROT: unknown variable; did you mean PODIUM_PORT?\n")
