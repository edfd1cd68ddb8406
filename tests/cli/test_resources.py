"""`apply`, `diff`, `get`, `delete`, `export` against the real admin application."""

import pytest
import yaml

PROVIDER = """\
kind: Provider
name: acme-llm
spec:
  protocol: openai
  base_url: https://llm.example.org/v1
"""
PRICE = "{kind: Price, name: cheap, spec: {model: m, input_usd_per_million: '1', output_usd_per_million: '2'}}\n"


@pytest.fixture
def documents(tmp_path):
    """A file with one document."""
    path = tmp_path / "acme.yaml"
    path.write_text(PROVIDER)
    return path


def test_apply_shows_what_is_created_and_the_revision(podium, house, documents):
    done = podium("apply", "-f", str(documents))
    assert done.out.splitlines() == [
        "+ Provider/acme-llm",
        '    spec.protocol: "openai"',
        '    spec.base_url: "https://llm.example.org/v1"',
        "Revision 2.",
    ]
    assert done.err == ""


def test_apply_twice_changes_nothing(podium, house, documents):
    podium("apply", "-f", str(documents))
    done = podium("apply", "-f", str(documents))
    assert done.out == "Nothing to change; declared already: 1.\n"


def test_apply_shows_each_field_that_changes(podium, house, documents):
    podium("apply", "-f", str(documents))
    documents.write_text(PROVIDER.replace("llm.example.org", "new.example.org") + "  max_connections: 7\n")
    done = podium("apply", "-f", str(documents))
    assert done.out.splitlines() == [
        "~ Provider/acme-llm",
        '    spec.base_url: "https://llm.example.org/v1" -> "https://new.example.org/v1"',
        "    spec.max_connections: (not set) -> 7",
        "Revision 3.",
    ]


def test_apply_reads_folders_several_files_and_standard_input(podium, house, tmp_path):
    folder = tmp_path / "declared"
    (folder / "below").mkdir(parents=True)
    (folder / "a.yaml").write_text(PROVIDER)
    (folder / "below" / "b.yml").write_text(PRICE)
    (folder / "notes.txt").write_text("not a document")
    tenant = "{kind: Tenant, name: bob}"
    done = podium("apply", "-f", str(folder), "-f", "-", "--json", stdin=tenant).json
    assert [(one["action"], one["kind"], one["name"]) for one in done["changes"]] == [
        ("create", "Price", "cheap"),
        ("create", "Provider", "acme-llm"),
        ("create", "Tenant", "bob"),
    ]
    assert done["revision"] == 2


def test_the_author_is_the_key_and_the_user_of_this_machine(podium, house, documents, monkeypatch):
    monkeypatch.setenv("LOGNAME", "carol")
    podium("apply", "-f", str(documents), "-m", "a reason")
    (newest,) = podium("history", "--limit", "1", "--json").json["revisions"]
    assert newest["author"].endswith("/alice (carol)")
    assert newest["message"] == "a reason"


def test_a_dry_run_writes_nothing(podium, house, documents):
    done = podium("apply", "-f", str(documents), "--dry-run")
    assert done.out.splitlines()[-1] == "A dry run: nothing was changed."
    assert podium("get", "providers").out == "Nothing is declared.\n"


def test_apply_refuses_when_another_revision_is_the_newest(podium, house, documents):
    done = podium("apply", "-f", str(documents), "--expect-revision", "7", code=1)
    assert done.err.startswith("podium: the newest revision is 1, not 7\nhint: ")


def test_wrong_documents_are_told_with_file_line_and_key_path_before_anything_is_sent(podium, house, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("kind: Provider\nname: x\nspec:\n  protocol: openai\n  base_url: nowhere\n  colour: red\n")
    before = len(house.requests)
    done = podium("apply", "-f", str(path), code=1)
    assert f"podium: {path}:6: Provider/x: spec.colour" in done.err
    assert len(house.requests) == before


def test_what_the_state_forbids_is_told_by_resource_and_path(podium, house, tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text("{kind: Model, name: m, spec: {version: absent}}")
    done = podium("apply", "-f", str(path), code=1)
    assert done.out == ""
    assert done.err.startswith("podium: Model/m: spec.version: ")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "absent.yaml cannot be read: No such file or directory."),
        ("# nothing\n", "There is no document in what -f names."),
    ],
)
def test_files_without_documents_are_one_sentence(podium, house, tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "absent.yaml").write_text(content)
    assert f"podium: {sentence}\n" in podium("apply", "-f", "absent.yaml", code=1).err


def test_diff_shows_and_changes_nothing(podium, house, documents):
    assert podium("diff", "-f", str(documents)).out.startswith("+ Provider/acme-llm\n")
    assert podium("diff", "-f", str(documents), "--exit-code", code=1).out.startswith("+ Provider/acme-llm\n")
    podium("apply", "-f", str(documents))
    assert podium("diff", "-f", str(documents), "--exit-code").out == "Nothing would change.\n"


def test_prune_deletes_what_is_not_in_the_files(podium, house, documents, tmp_path):
    house.apply("{kind: Tenant, name: bob}")
    (tmp_path / "all.yaml").write_text("{kind: Tenant, name: acme}")
    done = podium("diff", "-f", "all.yaml", "--prune", "--json").json
    assert [(one["action"], one["name"]) for one in done["changes"]] == [("delete", "bob")]


def test_get_lists_all_kinds_or_one_by_any_of_its_names(podium, house):
    house.apply(PROVIDER + "---\n" + PRICE)
    everything = podium("get").out
    assert all(word in everything for word in ("Tenant", "acme", "Provider", "acme-llm", "Price", "cheap"))
    for word in ("price", "prices", "Price", "PRICES"):
        listed = podium("get", word, "--json").json
        assert [one["name"] for one in listed["resources"]] == ["cheap"]
    assert podium("get", "limit-policies", "--json").json["resources"] == []


def test_get_of_everything_counts_a_kind_that_has_many(podium, house):
    house.apply("\n---\n".join(f"{{kind: Tenant, name: t{number}}}" for number in range(21)) + "\n---\n" + PROVIDER)
    rows = [line.split() for line in podium("get").out.splitlines()]
    assert ["Tenant", "(22", "of", "them)", "podium", "get", "tenant"] in rows
    assert [row[1] for row in rows if row[0] == "Provider"] == ["acme-llm"]
    assert len([line for line in podium("get", "tenant").out.splitlines() if "Tenant" in line]) == 22
    assert len(podium("get", "--json").json["resources"]) == 23


def test_get_shows_one_resource_as_a_document_that_apply_reads(podium, house):
    house.apply(PROVIDER)
    shown = podium("get", "provider", "acme-llm")
    assert yaml.safe_load(shown.out) == yaml.safe_load(PROVIDER)
    assert podium("get", "provider", "acme-llm", "--json").json == yaml.safe_load(PROVIDER)
    assert podium("diff", "-f", "-", "--exit-code", stdin=shown.out).out == "Nothing would change.\n"


def test_a_name_with_slashes_is_found(podium, house):
    house.apply("{kind: Tenant, name: acme/berlin}")
    assert podium("get", "tenant", "acme/berlin", "--json").json["name"] == "acme/berlin"


def test_what_does_not_exist_is_one_sentence(podium, house):
    assert "podium: there is no Tenant `nobody`" in podium("get", "tenant", "nobody", code=1).err
    done = podium("get", "tenent", code=1)
    assert done.err == (
        "podium: There is no kind 'tenent'.\n"
        "hint: Did you mean Tenant? The kinds are Tenant, Provider, Version, Model, LimitPolicy, Budget, Price, Flag,"
        " Rollout, Progress.\n"
    )


def test_delete_removes_and_undo_brings_back(podium, house):
    house.apply("{kind: Tenant, name: bob}")
    assert podium("delete", "tenant", "bob").out == "Revision 3: deleted Tenant/bob.\n"
    podium("get", "tenant", "bob", code=1)
    podium("undo", "3")
    podium("get", "tenant", "bob")


def test_export_round_trips(podium, house, tmp_path):
    house.apply(PROVIDER + "---\n" + PRICE)
    exported = podium("export")
    (tmp_path / "all.yaml").write_text(exported.out)
    assert podium("diff", "-f", "all.yaml", "--prune", "--exit-code").out == "Nothing would change.\n"
    wrote = podium("export", "-o", "saved.yaml")
    assert (wrote.out, wrote.err) == ("", "Wrote 3 documents to saved.yaml.\n")
    assert (tmp_path / "saved.yaml").read_text() == exported.out
    assert [one["kind"] for one in podium("export", "--json").json] == ["Price", "Provider", "Tenant"]


def test_control_characters_of_a_spec_do_not_reach_the_terminal(podium, house):
    house.apply('{kind: Tenant, name: bob, spec: {display_name: "\\e[31mred"}}')
    assert "\x1b" not in podium("get", "tenants").out
