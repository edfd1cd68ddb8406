import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.control.changes import field_changes
from podium.control.documents import document_of, parse_documents, parse_values, yaml_text
from podium.control.keys import NewKey
from podium.control.ports import Change
from podium.control.problems import InvalidDocuments, StateConflict
from podium.control.resources import Resources
from podium.core.errors import Conflict, InvalidRequest, NotFound, Unavailable
from podium.testing.clock import TestClock
from podium.testing.memory_store import MemoryKeyStore, MemoryResourceStore

HOUSE = """
{kind: Tenant, name: acme}
--- {kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Model, name: chat, spec: {version: v1, aliases: [default]}}
"""


async def apply(resources, text, **more):
    return await resources.apply(parse_documents(text), author="alice", **more)


async def declared(resources):
    return [document_of(resource) for resource in await resources.export()]


async def test_an_apply_is_one_revision_with_author_message_and_changes(resources):
    result = await apply(resources, HOUSE, message="a house")
    assert result.revision.number == 1
    assert (result.revision.author, result.revision.message) == ("alice", "a house")
    assert [change.kind for change in result.revision.changes] == ["Model", "Provider", "Tenant", "Version"]
    assert await resources.get("Tenant", "acme")


async def test_an_apply_without_change_makes_no_revision(resources):
    await apply(resources, HOUSE)
    result = await apply(resources, HOUSE)
    assert result.revision is None
    assert result.plan.unchanged == 4
    assert await resources.newest_revision() == 1


async def test_a_default_that_is_written_down_is_no_change(resources):
    await apply(resources, HOUSE)
    text = "{kind: Provider, name: p, spec: {protocol: local, timeouts: {connect_s: 5}, headers: {}}}"
    assert (await apply(resources, text)).revision is None


async def test_a_dry_run_tells_and_changes_nothing(resources):
    result = await apply(resources, HOUSE, dry_run=True)
    assert (result.dry_run, result.revision, len(result.plan.changes)) == (True, None, 4)
    assert await resources.export() == ()


async def test_a_plan_says_what_an_apply_would_refuse(resources):
    with pytest.raises(InvalidDocuments) as caught:
        await resources.plan(parse_documents("{kind: Model, name: m, spec: {version: nowhere}}"))
    assert caught.value.problems[0].path == "spec.version"


async def test_only_what_differs_is_told(resources):
    await apply(resources, HOUSE)
    plan = await resources.plan(parse_documents("{kind: Model, name: chat, spec: {version: v1, owned_by: me}}"))
    (change,) = plan.changes
    fields = [msgspec.to_builtins(field) for field in field_changes(change)]
    assert fields == [
        {"path": "spec.aliases", "before": ["default"], "after": None},
        {"path": "spec.owned_by", "before": None, "after": "me"},
    ]


async def test_prune_deletes_what_is_not_declared(resources):
    await apply(resources, HOUSE)
    result = await apply(resources, "{kind: Tenant, name: acme}", prune=True)
    assert [(change.name, change.after) for change in result.revision.changes] == [
        ("chat", None),
        ("p", None),
        ("v1", None),
    ]


async def test_prune_without_documents_is_refused(resources):
    with pytest.raises(InvalidRequest):
        await apply(resources, "", prune=True)


async def test_the_expected_revision_must_be_the_newest(resources):
    await apply(resources, HOUSE)
    with pytest.raises(Conflict, match="newest revision is 1, not 0"):
        await apply(resources, "{kind: Tenant, name: b}", expected_revision=0)
    assert (await apply(resources, "{kind: Tenant, name: b}", expected_revision=1)).revision.number == 2


async def test_of_two_operators_with_the_same_expectation_one_gets_a_conflict(resources):
    await apply(resources, HOUSE)
    results = await asyncio.gather(
        *(
            apply(resources, f"{{kind: Tenant, name: acme, spec: {{display_name: '{n}'}}}}", expected_revision=1)
            for n in range(2)
        ),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["Applied", "Conflict"]


async def test_of_two_operators_on_one_resource_at_once_one_gets_a_conflict(resources):
    await apply(resources, HOUSE)
    results = await asyncio.gather(
        *(apply(resources, f"{{kind: Tenant, name: acme, spec: {{display_name: '{n}'}}}}") for n in range(2)),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["Applied", "Conflict"]


async def test_two_operators_on_different_resources_at_once_both_succeed(resources):
    results = await asyncio.gather(*(apply(resources, f"{{kind: Tenant, name: t{n}}}") for n in range(3)))
    assert sorted(result.revision.number for result in results) == [1, 2, 3]


async def test_two_operators_that_break_each_other_get_one_conflict(resources):
    await apply(resources, HOUSE)
    await resources.delete("Model", "chat", author="alice")
    deleted, applied = await asyncio.gather(
        resources.delete("Version", "v1", author="alice"),
        apply(resources, "{kind: Model, name: chat, spec: {version: v1}}"),
        return_exceptions=True,
    )
    assert isinstance(deleted, Exception) != isinstance(applied, Exception)
    state = {(resource.kind, resource.name) for resource in await resources.export()}
    assert ("Model", "chat") not in state or ("Version", "v1") in state


async def test_every_change_has_an_author(resources):
    for author in ("", "  ", "a\nb", "x" * 201):
        with pytest.raises(InvalidRequest):
            await resources.apply(parse_documents(HOUSE), author=author)


async def test_get_names_what_is_not_there(resources):
    with pytest.raises(NotFound, match="no Model `chat`"):
        await resources.get("Model", "chat")


async def test_a_deleted_resource_is_gone_and_its_deletion_a_revision(resources):
    await apply(resources, HOUSE)
    revision = await resources.delete("Model", "chat", author="bob")
    assert (revision.author, revision.changes[0].after) == ("bob", None)
    with pytest.raises(NotFound):
        await resources.delete("Model", "chat", author="bob")


async def test_what_is_used_is_not_deleted(resources):
    await apply(resources, HOUSE)
    with pytest.raises(StateConflict, match="still used by Model/chat"):
        await resources.delete("Version", "v1", author="bob")


async def test_a_tenant_with_a_live_key_is_not_deleted(resources, keys):
    await apply(resources, HOUSE)
    issued = await keys.create(NewKey(tenant="acme", name="app"), created_by="alice")
    with pytest.raises(StateConflict, match="still has API keys"):
        await resources.delete("Tenant", "acme", author="bob")
    await keys.revoke(issued.record.entry.id, author="alice")
    assert await resources.delete("Tenant", "acme", author="bob")


async def test_undo_takes_back_and_is_taken_back(resources):
    await apply(resources, HOUSE)
    before = await declared(resources)
    change = await apply(
        resources, "{kind: Tenant, name: acme, spec: {display_name: Acme}}\n--- {kind: Tenant, name: b}"
    )
    after = await declared(resources)
    undone = await resources.undo(change.revision.number, author="bob")
    assert (undone.undoes, undone.author, undone.message) == (2, "bob", "undo revision 2")
    assert await declared(resources) == before
    await resources.undo(undone.number, author="bob")
    assert await declared(resources) == after


async def test_undo_leaves_later_changes_of_other_resources(resources):
    await apply(resources, HOUSE)
    await apply(resources, "{kind: Tenant, name: b}")
    await apply(resources, "{kind: Tenant, name: c}")
    await resources.undo(2, author="bob")
    assert [resource.name for resource in (await resources.all("Tenant"))[1]] == ["acme", "c"]


async def test_undo_of_what_was_changed_later_is_a_conflict_that_names_it(resources):
    await apply(resources, HOUSE)
    await apply(resources, "{kind: Tenant, name: acme, spec: {display_name: A}}")
    await apply(resources, "{kind: Tenant, name: acme, spec: {display_name: B}}")
    with pytest.raises(StateConflict, match="Tenant/acme: was changed after revision 2"):
        await resources.undo(2, author="bob")


async def test_undo_that_would_break_a_reference_is_a_conflict(resources):
    await apply(resources, "{kind: Provider, name: p, spec: {protocol: local}}")
    await apply(resources, "{kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}")
    with pytest.raises(StateConflict, match="still used by Version/v1"):
        await resources.undo(1, author="bob")


async def test_undo_of_what_is_undone_is_a_conflict(resources):
    await apply(resources, HOUSE)
    await resources.undo(1, author="bob")
    with pytest.raises(StateConflict):
        await resources.undo(1, author="bob")


async def test_there_is_no_undo_of_a_revision_that_never_was(resources):
    for number in (0, -1, 5, 1 << 70):
        with pytest.raises(NotFound):
            await resources.undo(number, author="bob")


async def test_undo_of_a_spec_that_this_version_does_not_read_is_a_conflict(resources, resource_store):
    old: dict[str, object] = {"option_of_old": True}
    await apply(resources, HOUSE)
    change = Change("Tenant", "acme", old, {})
    await resource_store.commit(expected=1, author="old", message="", changes=(change,))
    with pytest.raises(Conflict, match="no longer a valid spec"):
        await resources.undo(2, author="bob")


async def test_history_filters_and_pages(resources):
    await apply(resources, HOUSE)
    for n in range(5):
        await apply(resources, f"{{kind: Tenant, name: t{n % 2}, spec: {{display_name: 'x{n}'}}}}")
    everything = await resources.history()
    assert [revision.number for revision in everything.revisions] == [6, 5, 4, 3, 2, 1]
    assert everything.next_before is None
    first = await resources.history("Tenant", "t0", limit=2)
    assert ([revision.number for revision in first.revisions], first.next_before) == ([6, 4], 4)
    second = await resources.history("Tenant", "t0", limit=2, before=first.next_before)
    assert ([revision.number for revision in second.revisions], second.next_before) == ([2], None)


LIMITED = """
{kind: Tenant, name: acme}
--- {kind: LimitPolicy, name: fair, spec: {per: [tenant, user], limits: [{what: requests, amount: 60}]}}
--- {kind: Budget, name: teams, spec: {unit: usd, amount: '12.50', period: month, per: ['tag:team']}}
"""


async def test_limits_and_budgets_are_changed_shown_and_taken_back_as_any_kind(resources):
    await apply(resources, LIMITED)
    first = await declared(resources)
    larger = LIMITED.replace("12.50", "50").replace("amount: 60", "amount: 90, window_s: 3600")
    changed = (await apply(resources, larger)).revision
    assert {change.kind: [one.path for one in field_changes(change)] for change in changed.changes} == {
        "Budget": ["spec.amount"],
        "LimitPolicy": ["spec.limits"],
    }
    page = await resources.history("Budget", "teams")
    assert [revision.number for revision in page.revisions] == [2, 1]
    await resources.undo(2, author="alice")
    assert await declared(resources) == first
    exported = await resources.export()
    assert parse_documents(yaml_text(exported)) == exported
    await resources.delete("Tenant", "acme", author="alice")


async def test_what_is_exported_applies_to_an_empty_house(resources):
    await apply(resources, HOUSE)
    other = Resources(MemoryResourceStore(), MemoryKeyStore(), TestClock())
    await other.apply(await resources.export(), author="bob")
    assert await declared(other) == await declared(resources)


async def test_while_the_database_is_down_changes_are_refused(resources, resource_store):
    resource_store.down = True
    with pytest.raises(Unavailable):
        await apply(resources, HOUSE)


async def test_a_commit_tells_the_publisher(resource_store, key_store, clock):
    told = []
    resources = Resources(resource_store, key_store, clock, changed=lambda: told.append(True))
    await apply(resources, HOUSE)
    await apply(resources, HOUSE)
    assert told == [True]


# Round trips over random states: names from few, so that they meet; references may be wrong, and are then refused.
_names = st.sampled_from(["a", "b", "c"])
_documents = st.lists(
    st.one_of(
        st.builds(
            lambda name, text: {"kind": "Tenant", "name": name, "spec": {"display_name": text}},
            _names,
            st.sampled_from(["", "x", "y"]),
        ),
        st.builds(lambda name: {"kind": "Provider", "name": name, "spec": {"protocol": "local"}}, _names),
        st.builds(
            lambda name, other: {
                "kind": "Version",
                "name": name,
                "spec": {"backends": [{"provider": other, "model": "m"}]},
            },
            _names,
            _names,
        ),
        st.builds(
            lambda name, other, aliases: {
                "kind": "Model",
                "name": name,
                "spec": {"version": other, "aliases": aliases},
            },
            _names,
            _names,
            st.lists(st.sampled_from(["c", "d", "e"]), max_size=2),
        ),
    ),
    max_size=8,
    unique_by=lambda document: (document["kind"], document["name"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_documents, st.booleans()), min_size=1, max_size=5))
def test_undo_restores_the_state_before_any_apply(steps):
    async def story():
        resources = Resources(MemoryResourceStore(), MemoryKeyStore(), TestClock())
        states = [await declared(resources)]
        for documents, prune in steps:
            try:
                result = await resources.apply(parse_values(documents), author="alice", prune=prune and bool(documents))
            except (InvalidRequest, Conflict):
                assert await declared(resources) == states[-1]
                continue
            if result.revision is not None:
                states.append(await declared(resources))
        for number in range(len(states) - 1, 0, -1):
            assert await declared(resources) == states[number]
            await resources.undo(number, author="bob")
            assert await declared(resources) == states[number - 1]

    asyncio.run(story())
