"""Settings: where they come from, who wins, and what is said about wrong ones."""

import stat
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import podium.config as config_module
from podium.config import (
    Configuration,
    ConfigurationError,
    Settings,
    child_environment,
    load_configuration,
    load_settings,
    options,
    sections,
)
from podium.config_environment import OTHER_VARIABLES, SHORT_FORMS
from podium.config_options import options_of
from podium.config_values import Accepts, Unacceptable, as_text, convert, expectation, parse


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Each test runs in an empty folder, so that no `podium.yaml` of the repository is found."""
    monkeypatch.chdir(tmp_path)


def load(text=None, environment=None, **further) -> Configuration:
    """The configuration that `podium.yaml` with this text and these variables make."""
    if text is not None:
        Path("podium.yaml").write_text(text)
    return load_configuration(environment=environment or {}, **further)


def problems(text=None, environment=None, **further) -> tuple[str, ...]:
    """What is wrong with it."""
    with pytest.raises(ConfigurationError) as caught:
        load(text, environment, **further)
    assert caught.value.message == "\n".join(caught.value.problems)
    return caught.value.problems


def test_without_any_source_every_setting_has_its_default():
    found = load()
    assert found.settings == Settings()
    assert found.file is None
    assert found.origins == {}


def test_later_sources_win():
    text = "gateway:\n  port: 1001\n  backlog: 11\n  host: 10.0.0.1\n"
    environment = {"PODIUM_GATEWAY_PORT": "1002", "PODIUM_GATEWAY_BACKLOG": "12"}
    found = load(text, environment, overrides={"gateway.port": ("--port", 1003)})
    gateway = found.settings.server
    assert (gateway.port, gateway.backlog, gateway.host) == (1003, 12, "10.0.0.1")
    assert found.origins == {
        "gateway.port": "--port",
        "gateway.backlog": "PODIUM_GATEWAY_BACKLOG",
        "gateway.host": "podium.yaml:4",
    }


def test_the_file_is_the_one_that_was_named_then_the_one_here_then_the_one_in_the_data_folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    ports = {"named": 1, "variable": 2, "podium": 3, "data/podium": 4}
    for name, port in ports.items():
        (tmp_path / f"{name}.yaml").write_text(f"gateway: {{port: {port}}}\n")
    variables = {"PODIUM_HOME": str(data), "PODIUM_CONFIG": "variable.yaml"}

    assert load(environment=variables, config=Path("named.yaml")).settings.server.port == 1
    assert load(environment=variables).settings.server.port == 2
    del variables["PODIUM_CONFIG"]
    assert load(environment=variables).settings.server.port == 3
    Path("podium.yaml").unlink()
    assert load(environment=variables).settings.server.port == 4


def test_a_file_that_was_named_must_exist():
    assert problems(config=Path("absent.yaml")) == ("absent.yaml: cannot be read: No such file or directory",)


def test_the_data_folder_comes_from_the_option_then_the_environment():
    assert load().settings.data.path == Path(".podium")
    assert load(environment={"PODIUM_HOME": "/a"}).settings.data.path == Path("/a")
    assert load(environment={"PODIUM_HOME": "/a"}, data_dir=Path("/b")).settings.data.path == Path("/b")


def test_a_wrong_value_names_file_line_and_key_path():
    text = "# comment\ngateway:\n\n  host: 127.0.0.1\n\n\n  port: x\n"
    assert problems(text) == ("podium.yaml:7: gateway.port: expected an integer from 0 to 65535, got 'x'",)


def test_all_problems_are_reported_at_once():
    text = "gateway:\n  port: 70000\n  prot: 1\nunknwon: 1\n"
    environment = {"PODIUM_GATEWAY_BACKLOG": "many", "PODIUM_GATEWAY_HOTS": "x"}
    assert set(problems(text, environment, overrides={"admin.port": ("--admin-port", -1)})) == {
        "podium.yaml:2: gateway.port: expected an integer from 0 to 65535, got 70000",
        "podium.yaml:3: gateway.prot: unknown key; did you mean gateway.port?",
        "podium.yaml:4: unknwon: unknown key",
        "PODIUM_GATEWAY_BACKLOG: gateway.backlog: expected an integer of at least 1, got 'many'",
        "PODIUM_GATEWAY_HOTS: unknown variable; did you mean PODIUM_GATEWAY_HOST?",
        f"--admin-port: admin.port: expected {expectation(options()['admin', 'port'].accepts)}, got -1",
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gateway:\n  port: 1\n  port: 2\n", "podium.yaml:3: gateway.port: set twice, first in line 2"),
        ("gateway: {port: 1}\nadmin: {}\ngateway: {}\n", "podium.yaml:3: gateway: set twice, first in line 1"),
        ("gateway: 1\n", "podium.yaml:1: gateway: expected a section with `key: value` lines"),
        ("- gateway\n", "podium.yaml:1: expected a section with `key: value` lines"),
        ("gateway:\n  port: [\n", "podium.yaml:3: not YAML: expected the node content, but found '<stream end>'"),
        ("a: 1\n---\nb: 2\n", "podium.yaml:2: not YAML: but found another document"),
        ("gateway:\n  port: !!python/name:os.system\n", None),
        ("gateway:\n  ? [a]\n  : 1\n", "podium.yaml:2: gateway: expected a plain name as key"),
        ("base: &b {port: 1}\n", "podium.yaml:1: base: unknown key"),
        ("gateway:\n  <<: {port: 1}\n", "podium.yaml:2: gateway: expected a plain name as key"),
        ("gateway:\n  port: true\n", "podium.yaml:2: gateway.port: expected an integer from 0 to 65535, got True"),
        ("gateway:\n  port:\n", "podium.yaml:2: gateway.port: expected an integer from 0 to 65535, got None"),
        ("gateway:\n  host: 2024-01-02\n", None),
        ("gateway:\n  host: 2024-13-02\n", None),
        ("gateway:\n  port: &a [*a]\n", None),
        ("gateway: " + "[" * 5000, None),
        ("gateway:\n  head_timeout_s: .inf\n", None),
        ("gateway:\n  head_timeout_s: .nan\n", None),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_one_sentence(text, problem):
    (found,) = problems(text)
    assert found.startswith("podium.yaml")
    assert "\n" not in found
    if problem is not None:
        assert found == problem


def test_a_file_that_is_not_text_is_refused():
    Path("podium.yaml").write_bytes(b"gateway:\n  host: \xff\xfe\n")
    assert problems() == ("podium.yaml:2: not UTF-8 text",)


def test_a_file_that_is_too_large_is_refused():
    assert problems("#" * ((1 << 20) + 1)) == ("podium.yaml: larger than 1 MiB",)


@pytest.mark.parametrize("text", ["", "# nothing\n", "gateway:\n", "---\n", "\ufeffgateway: {}\n"])
def test_a_file_or_section_without_settings_sets_nothing(text):
    assert load(text).settings == Settings()


@given(st.binary(max_size=200))
def test_any_file_content_is_read_or_refused_never_a_traceback(content):
    path = Path("podium.yaml")
    path.write_bytes(content)
    try:
        load_configuration(config=path, environment={})
    except ConfigurationError as error:
        assert all(problem.startswith("podium.yaml") for problem in error.problems)  # noqa: PT017 - either outcome is fine


def test_a_variable_can_name_a_file_that_holds_the_value():
    Path("secret").write_text("10.9.8.7\n")
    found = load(environment={"PODIUM_GATEWAY_HOST_FILE": "secret"})
    assert found.settings.server.host == "10.9.8.7"
    assert found.origins == {"gateway.host": "PODIUM_GATEWAY_HOST_FILE"}


def test_a_value_from_a_file_is_never_shown():
    Path("secret").write_text("hunter2")
    (found,) = problems(environment={"PODIUM_GATEWAY_PORT_FILE": "secret"})
    assert "hunter2" not in found
    assert "a value that is not shown" in found


def test_a_variable_that_names_a_missing_file_is_a_problem():
    assert problems(environment={"PODIUM_GATEWAY_HOST_FILE": "absent"}) == (
        "PODIUM_GATEWAY_HOST_FILE: absent cannot be read: No such file or directory",
    )


def test_short_forms_set_the_same_settings():
    found = load(environment={"PODIUM_PORT": "1001", "PODIUM_HOST": "::1", "PODIUM_MODELS_DIR": "/m"}).settings
    assert (found.server.port, found.server.host, found.engine.models_dir) == (1001, "::1", "/m")
    assert load(environment={"PODIUM_ADMIN_PORT": "1002"}).settings.admin.port == 1002


def test_two_variables_that_disagree_are_a_problem():
    assert problems(environment={"PODIUM_PORT": "1", "PODIUM_GATEWAY_PORT": "2"}) == (
        "PODIUM_PORT: gateway.port is also set by PODIUM_GATEWAY_PORT, to another value",
    )
    assert load(environment={"PODIUM_PORT": "1", "PODIUM_GATEWAY_PORT": "1"}).settings.server.port == 1


def test_variables_that_are_not_settings_are_let_be():
    assert load(environment=dict.fromkeys(OTHER_VARIABLES.keys() - {"PODIUM_CONFIG"}, "x") | {"PATH": "y"})


def test_what_kubernetes_sets_for_a_service_called_podium_is_let_be():
    links = {
        "PODIUM_SERVICE_HOST": "10.0.0.1",
        "PODIUM_SERVICE_PORT": "8080",
        "PODIUM_SERVICE_PORT_HTTP": "8080",
        "PODIUM_PORT": "tcp://10.0.0.1:8080",
        "PODIUM_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "PODIUM_PORT_8080_TCP_PROTO": "tcp",
        "PODIUM_GATEWAY_PORT": "tcp://10.0.0.1:8080",
        "PODIUM_GATEWAY_SERVICE_HOST": "10.0.0.1",
    }
    assert load(environment=links).settings == Settings()


def test_a_removed_setting_says_what_to_do_instead(monkeypatch):
    monkeypatch.setattr(config_module, "REMOVED", {"gateway.workers": "run more gateways"})
    assert problems("gateway:\n  workers: 4\n", {"PODIUM_GATEWAY_WORKERS": "4"}) == (
        "podium.yaml:2: gateway.workers: is no longer a setting: run more gateways",
        "PODIUM_GATEWAY_WORKERS: gateway.workers is no longer a setting: run more gateways",
    )


def test_gateway_and_admin_api_may_not_share_a_port():
    assert problems("gateway: {port: 8081}\n") == (
        "podium.yaml:1: gateway.port: gateway and admin API need two ports, got 8081 for both",
    )
    assert load("gateway: {port: 0}\nadmin: {port: 0}\n").settings.admin.port == 0


def test_a_complaint_of_a_section_itself_names_the_place_of_the_field():
    assert problems("telemetry:\n  otlp_endpoint: nowhere\n") == (
        "podium.yaml:2: telemetry.otlp_endpoint: must be an http:// or https:// URL",
    )


def test_a_child_process_gets_exactly_the_same_settings():
    text = "gateway:\n  port: 1001\n  backlog: 7\ntelemetry: {exchange_log: false, otlp_endpoint: 'http://c:4318'}\n"
    variables = {"PODIUM_PORT": "1002", "PATH": "/bin", "PODIUM_API_KEY": "k"}
    parent = load(text, variables, overrides={"gateway.port": ("--port", 1003), "gateway.backlog": ("-b", 2048)})
    environment = child_environment(parent.settings, variables)
    child = load_settings(environment=environment)
    assert child.data.path == Path(".podium").absolute()
    assert [getattr(child, entry.name) for entry in fields(Settings)[1:]] == [
        getattr(parent.settings, entry.name) for entry in fields(Settings)[1:]
    ]
    assert environment["PATH"] == "/bin"
    assert environment["PODIUM_API_KEY"] == "k"


def test_every_setting_has_help_a_known_type_and_a_default_that_it_accepts():
    for option in options().values():
        assert option.help.strip(), option.key
        assert option.help.rstrip().endswith((".", "`", ")")), option.key
        assert expectation(option.accepts), option.key
        assert parse(option.accepts, as_text(option.default)) == option.default, option.key


def test_no_two_settings_share_a_variable():
    variables = [option.variable for option in options().values()]
    assert len(set(variables)) == len(variables)
    assert not set(variables) & set(OTHER_VARIABLES)
    assert set(SHORT_FORMS.values()) <= set(options())


def test_each_section_of_the_settings_is_a_dataclass_with_defaults():
    assert [entry.name for entry in fields(Settings)] == ["data", *(one.attribute for one in sections())]
    assert all(section.form() for section in sections())


def test_two_packages_may_share_a_section_but_no_key():
    declared = [option.key for section in sections() for option in options_of(section.form, (section.name,))]
    assert len(set(declared)) == len(declared)


FORMS = {
    bool: (st.booleans(), "true or false"),
    int: (st.integers(), "an integer"),
    float: (st.floats(allow_nan=False, allow_infinity=False, max_value=1e299, min_value=-1e299), "a number"),
    str: (st.text(), "a string"),
    Path: (st.text(alphabet="abc/.", min_size=1).map(Path), "a path"),
    tuple[str, ...]: (st.lists(st.text()).map(tuple), "a list, each a string"),
    tuple[int, ...]: (st.lists(st.integers()).map(tuple), "a list, each an integer"),
    dict[str, str]: (st.dictionaries(st.text(), st.text()), "a map of names, each with a string"),
}


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_value_survives_the_way_through_the_environment(form):
    values, words = FORMS[form]

    @given(values)
    def survives(value):
        assert parse(Accepts(form), as_text(value)) == value

    survives()
    assert expectation(Accepts(form)) == words


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_text_is_parsed_or_refused_never_a_traceback(form):
    @given(st.text())
    def parses(text):
        try:
            value = parse(Accepts(form), text)
        except Unacceptable as error:
            assert str(error).startswith("expected ")  # noqa: PT017 - either outcome is fine
        else:
            assert parse(Accepts(form), as_text(value)) == value

    parses()


def test_lists_and_maps_have_a_short_form_in_the_environment():
    assert parse(Accepts(tuple[str, ...]), "a, b,,c") == ("a", "b", "c")
    assert parse(Accepts(dict[str, int]), "a=1, b=2") == {"a": 1, "b": 2}
    with pytest.raises(Unacceptable, match="a map of names, each with an integer, got 'a'"):
        parse(Accepts(dict[str, int]), "a")


def test_nothing_is_a_value_only_where_it_is_allowed():
    assert parse(Accepts(int | None), "") is None
    assert convert(Accepts(int | None), None) is None
    with pytest.raises(Unacceptable, match="expected an integer, got ''"):
        parse(Accepts(int), "")


def test_bounds_and_choices_hold_inside_lists():
    accepts = Accepts(tuple[int, ...], minimum=1, maximum=3)
    assert convert(accepts, [1, 3]) == (1, 3)
    with pytest.raises(Unacceptable, match=r"expected a list, each an integer from 1 to 3, got \[4\]"):
        convert(accepts, [4])
    with pytest.raises(Unacceptable, match="expected one of a, b, got 'c'"):
        convert(Accepts(str, choices=("a", "b")), "c")


def test_a_secret_is_not_shown():
    with pytest.raises(Unacceptable, match="expected an integer, got a value that is not shown"):
        convert(Accepts(int, secret=True), "hunter2")


def test_the_description_of_a_configuration_hides_passwords():
    found = load("database:\n  url: postgresql://podium:hunter2@db/podium\n").described()
    assert "hunter2" not in str(found)
    assert found["database.url"] == {"value": "postgresql://podium:***@db/podium", "origin": "podium.yaml:2"}


def test_reading_the_configuration_loads_no_heavy_package():
    code = (
        "import sys, podium.config; podium.config.load_settings(environment={});"
        "print([m for m in ('sqlalchemy', 'litestar', 'onnxruntime', 'xllamacpp', 'rich', 'httpx', 'opentelemetry')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unreadable_file_is_one_sentence():
    path = Path("podium.yaml")
    path.mkdir()
    assert stat.S_ISDIR(path.stat().st_mode)
    assert problems(config=path) == ("podium.yaml: cannot be read: Is a directory",)
