import pytest

from podium.control.changes import changes_between, state_of
from podium.control.documents import parse_documents
from podium.control.problems import InvalidDocuments, StateConflict
from podium.core.errors import Conflict, PodiumError
from podium.core.resources import Progress, Resource

HOUSE = """
{kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Version, name: v2, spec: {backends: [{provider: p, model: n}]}}
--- {kind: Model, name: chat, spec: {version: v1}}
--- {kind: Rollout, name: r, spec: {model: chat, candidate: v2}}
"""
RUNNING = Progress(phase="running", before="v1", salt="s")


@pytest.fixture
async def house(resources):
    await resources.apply(parse_documents(HOUSE), author="test")
    return resources


@pytest.fixture
def at(house, resource_store):
    """Make the rollout stand somewhere, as only rollouts do."""

    async def put(progress):
        number, declared = await resource_store.current()
        before = state_of(declared)
        after = {**before, ("Progress", "r"): Resource("Progress", "r", progress)}
        changes = changes_between(before, after)
        return await resource_store.commit(expected=number, author="podium", message="", changes=changes)

    return put


async def refused(awaitable, error, words):
    with pytest.raises(error) as caught:
        await awaitable
    assert words in caught.value.message


async def test_progress_is_not_applied(house):
    document = "{kind: Progress, name: r, spec: {phase: running, before: v1, salt: s}}"
    await refused(house.apply(parse_documents(document), author="test"), InvalidDocuments, "only rollouts write")


async def test_progress_that_is_applied_as_it_is_changes_nothing(house, at):
    await at(RUNNING)
    document = "{kind: Progress, name: r, spec: {phase: running, before: v1, salt: s}}"
    assert (await house.apply(parse_documents(document), author="test")).revision is None


async def test_progress_is_not_deleted(house, at):
    await at(RUNNING)
    await refused(house.delete("Progress", "r", author="test"), InvalidDocuments, "only rollouts write")


async def test_prune_keeps_where_rollouts_stand(house, at):
    await at(RUNNING)
    applied = await house.apply(parse_documents(HOUSE), author="test", prune=True)
    assert applied.plan.changes == ()


async def test_an_export_has_no_progress_and_can_be_applied_with_prune(house, at):
    await at(RUNNING)
    exported = await house.export()
    assert {one.kind for one in exported} == {"Provider", "Version", "Model", "Rollout"}
    assert (await house.apply(exported, author="test", prune=True)).revision is None


@pytest.mark.parametrize("progress", [RUNNING, Progress(phase="pending", before="v1", salt="s", asked_by="anna")])
async def test_a_rollout_under_way_stays_as_it_is(house, at, progress):
    await at(progress)
    other = "{kind: Rollout, name: r, spec: {model: chat, candidate: v2, approval: null, keep_warm_s: 5}}"
    await refused(house.apply(parse_documents(other), author="test"), StateConflict, "podium rollout abort r")
    await refused(house.delete("Rollout", "r", author="test"), StateConflict, "podium rollout abort r")


async def test_the_version_of_a_model_in_a_rollout_is_changed_by_the_rollout_alone(house, at):
    await at(RUNNING)
    document = "{kind: Model, name: chat, spec: {version: v2}}"
    await refused(house.apply(parse_documents(document), author="test"), StateConflict, "is moving this model")
    document = "{kind: Model, name: chat, spec: {version: v1, aliases: [talk]}}"
    assert (await house.apply(parse_documents(document), author="test")).revision is not None


async def test_an_ended_rollout_takes_its_progress_along_when_it_is_deleted_and_brings_it_back(
    house, at, resource_store
):
    await at(Progress(phase="aborted", before="v1", salt="s"))
    deleted = await house.delete("Rollout", "r", author="test")
    assert {(change.kind, change.after) for change in deleted.changes} == {("Rollout", None), ("Progress", None)}
    await house.undo(deleted.number, author="test")
    kinds = [one.kind for one in (await resource_store.current())[1]]
    assert kinds.count("Progress") == kinds.count("Rollout") == 1


async def test_a_step_is_not_undone_as_other_changes_are(house, at):
    step = await at(RUNNING)
    await refused(house.undo(step.number, author="test"), StateConflict, "podium rollout undo")


async def test_what_a_rollout_stands_on_is_not_undone_under_it(house, at):
    document = "{kind: Rollout, name: r, spec: {model: chat, candidate: v2, keep_warm_s: 60}}"
    changed = (await house.apply(parse_documents(document), author="test")).revision
    await at(RUNNING)
    await refused(house.undo(changed.number, author="test"), Conflict, "podium rollout abort r")


async def test_names_of_rollouts_can_stand_in_paths(house):
    document = "{kind: Rollout, name: a/b, spec: {model: chat, candidate: v2}}"
    await refused(house.apply(parse_documents(document), author="test"), PodiumError, "has no `/`")
