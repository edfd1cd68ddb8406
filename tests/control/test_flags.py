from podium.control.changes import field_changes
from podium.control.documents import parse_documents
from podium.control.flags import check_flags
from podium.control.validation import check_change
from podium.core.flags import MAX_FLAGS


def state(text):
    return {(one.kind, one.name): one for one in parse_documents(text)}


def flag(name, *, needs=(), variants="{on: true, off: false}", kind="boolean", default="off"):
    wanted = "".join(f"\n    - {{flag: {other}, variant: {variant}}}" for other, variant in needs)
    return (
        f"---\nkind: Flag\nname: {name}\nspec:\n  type: {kind}\n  variants: {variants}\n  default: {default}\n"
        f"  off: {default}\n  prerequisites: {wanted or '[]'}\n"
    )


def problems(before, after):
    return [str(one) for one in check_change(state(before), state(after))]


def test_flags_that_fit_together_may_be_declared():
    assert problems("", flag("a") + flag("b", needs=[("a", "on")]) + flag("c", needs=[("a", "off"), ("b", "on")])) == []


def test_a_prerequisite_has_to_be_there_and_have_the_variant():
    assert problems("", flag("button", needs=[("engin", "on")]) + flag("engine")) == [
        "Flag/button: spec.prerequisites[0].flag: there is no Flag `engin`; did you mean `engine`?"
    ]
    assert problems("", flag("button", needs=[("engine", "yes")]) + flag("engine")) == [
        "Flag/button: spec.prerequisites[0].variant: Flag/engine has no variant `yes`; it has on, off"
    ]


def test_what_others_need_cannot_go_away():
    both = flag("engine") + flag("button", needs=[("engine", "on")])

    assert problems(both, flag("button", needs=[("engine", "on")])) == [
        "Flag/engine: is still used by Flag/button (spec.prerequisites[0].flag)"
    ]
    changed = flag("engine", variants="{yes: true, off: false}") + flag("button", needs=[("engine", "on")])
    assert problems(both, changed) == [
        "Flag/engine: spec.variants: its variant `on` is still wanted by Flag/button (spec.prerequisites[0])"
    ]


def test_prerequisites_never_lead_back_nor_far():
    assert problems("", flag("a", needs=[("b", "on")]) + flag("b", needs=[("a", "on")])) == [
        "Flag/a: spec.prerequisites: leads back to the flag itself: a -> b -> a",
        "Flag/b: spec.prerequisites: leads back to the flag itself: b -> a -> b",
    ]
    chain = "".join(flag(f"f{number}", needs=[(f"f{number + 1}", "on")]) for number in range(9)) + flag("f9")
    assert problems("", chain) == ["Flag/f0: spec.prerequisites: leads 9 flags deep, and more than 8 are too many"]


def test_flags_that_podium_reads_have_their_type():
    assert problems("", flag("max_context_length")) == [
        (
            "Flag/max_context_length: spec.type: gateways and clients read `max_context_length` as a number; give yours"
            " another name"
        )
    ]
    right = flag("max_context_length", kind="number", variants="{all: 1000000, few: 8000}", default="all")
    assert problems("", right) == []


def rollout(flag):
    return (
        "---\n{kind: Provider, name: p, spec: {protocol: local}}\n"
        "---\n{kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}\n"
        "---\n{kind: Version, name: v2, spec: {backends: [{provider: p, model: n}]}}\n"
        "---\n{kind: Model, name: m, spec: {version: v1}}\n"
        f"---\n{{kind: Rollout, name: r, spec: {{model: m, candidate: v2, flag: {flag}}}}}\n"
    )


def test_the_flag_of_a_rollout_has_to_be_there_and_boolean():
    number = flag("size", kind="number", variants="{a: 1}", default="a")

    assert problems("", rollout("beta") + flag("beta")) == []
    assert problems("", rollout("beta")) == ["Rollout/r: spec.flag: there is no Flag `beta`"]
    assert problems("", rollout("size") + number) == [
        "Rollout/r: spec.flag: Flag/size is of type number, and a rollout needs a boolean"
    ]
    assert problems(rollout("beta") + flag("beta"), rollout("beta")) == [
        "Flag/beta: is still used by Rollout/r (spec.flag)"
    ]


def test_there_are_not_too_many_flags():
    many = state("".join(flag(f"f{number}") for number in range(MAX_FLAGS + 1)))

    assert [one.message for one in check_flags({}, many)] == [f"more than {MAX_FLAGS} flags"]
    assert list(check_flags(many, dict(list(many.items())[1:]))) == []


async def test_a_flag_of_json_is_changed_and_taken_back_by_key_path(resources):
    text = "{kind: Flag, name: a, spec: {type: json, variants: {off: {size: 1.0, words: [x, null]}}}}"
    await resources.apply(parse_documents(text), author="alice")
    changed = await resources.apply(parse_documents(text.replace("1.0", "1").replace("x,", "y,")), author="bob")

    paths = [one.path for one in field_changes(changed.plan.changes[0])]
    assert paths == ["spec.variants.off.size", "spec.variants.off.words"]
    await resources.undo(changed.revision.number, author="carol")
    value = (await resources.get("Flag", "a")).spec.variants["off"]
    assert (repr(value["size"]), value["words"]) == ("1.0", ["x", None])
