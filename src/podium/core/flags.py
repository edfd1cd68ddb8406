"""What an operator declares about flags: values under names, and who is given which."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from podium.core.spec import Name, Strict

__all__ = [
    "MAX_FLAGS",
    "MAX_PREREQUISITE_DEPTH",
    "OFF",
    "TARGETING_KEY",
    "Condition",
    "Flag",
    "FlagType",
    "Prerequisite",
    "Rule",
    "Scalar",
]

FlagType = Literal["boolean", "string", "number", "json"]
Scalar = bool | int | float | str

TARGETING_KEY = "targetingKey"  # OpenFeature's name for whom a flag is evaluated
OFF = "off"
MAX_FLAGS = 2_000  # all of them are evaluated at once for a client that asks for all
MAX_PREREQUISITE_DEPTH = 8
_MAX_VALUE_BYTES = 16_384  # as JSON
_MAX_VALUE_DEPTH = 16
_MAX_NUMBER = 2**53  # above it, readers of JSON differ
_WHOLE = 100.0

Attribute = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.:-]{0,127}\Z")]
Variant = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
Text = Annotated[str, Meta(min_length=1, max_length=256)]
Values = Annotated[tuple[Scalar, ...], Meta(min_length=1, max_length=1000)]
Texts = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=100)]
SemVer = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,9}(\.[0-9]{1,9}){0,2}(-[0-9A-Za-z-]{1,32}(\.[0-9A-Za-z-]{1,32}){0,7})?(\+[0-9A-Za-z.-]{1,64})?\Z"
    ),
]


class Condition(Strict, frozen=True, kw_only=True):
    """What one attribute of the evaluation context has to be: each test that is set must hold.

    Of an attribute that is a list, one element has to pass a test (`not_in`: none may be in the list).
    """

    attribute: Annotated[
        Attribute,
        Meta(
            description="`targetingKey`, `tenant`, `key`, `user`, `tier`, `model`, `endpoint`, `region`,"
            " `tag:<name>`, or any that an OpenFeature client sends."
        ),
    ]
    in_: Annotated[Values | None, Meta(description="It is one of these.")] = msgspec.field(default=None, name="in")
    not_in: Annotated[Values | None, Meta(description="It is none of these; holds too when there is none.")] = None
    matches: Annotated[Texts | None, Meta(description="It is like one of these; `*` is any run of characters.")] = None
    starts_with: Annotated[Texts | None, Meta(description="It begins with one of these.")] = None
    at_least: Annotated[float | None, Meta(description="It is a number, and this or more.")] = None
    below: Annotated[float | None, Meta(description="It is a number, and less than this.")] = None
    semver_at_least: Annotated[SemVer | None, Meta(description="It is a version such as `2.1.0`, this or later.")] = (
        None
    )
    semver_below: Annotated[SemVer | None, Meta(description="It is a version, and before this one.")] = None
    present: Annotated[bool | None, Meta(description="True: there is one, whatever it is; false: there is none.")] = (
        None
    )

    def __post_init__(self) -> None:
        tests = [name for name in self.__struct_fields__ if name != "attribute" and getattr(self, name) is not None]
        if not tests:
            raise ValueError("a condition has a test, such as `in`")
        if self.present is False and len(tests) > 1:
            raise ValueError("`present: false` leaves nothing for other tests")


class Rule(Strict, frozen=True, kw_only=True):
    """Who is given what: the first rule whose conditions all hold decides."""

    name: Annotated[str, Meta(description="Told with each evaluation that it decides.", max_length=100)] = ""
    when: Annotated[
        tuple[Condition, ...], Meta(description="All of these hold; empty: for everybody.", max_length=16)
    ] = ()
    variant: Annotated[Variant | None, Meta(description="What is given. Either this or `split`.")] = None
    split: Annotated[
        dict[Variant, Annotated[float, Meta(ge=0, le=100)]],
        Meta(description="Shares of variants in percent, 100 together.", max_length=50),
    ] = msgspec.field(default_factory=dict)
    by: Annotated[
        Attribute, Meta(description="For `split`: equal values of this attribute are given the same variant.")
    ] = TARGETING_KEY

    def __post_init__(self) -> None:
        if (self.variant is None) == (not self.split):
            raise ValueError("name exactly one of `variant` and `split`")
        if self.split and not math.isclose(math.fsum(self.split.values()), _WHOLE, abs_tol=1e-6):
            raise ValueError(f"`split` is {math.fsum(self.split.values()):g} percent together, not 100")
        if not self.split and self.by != TARGETING_KEY:
            raise ValueError("`by` is for `split`")


class Prerequisite(Strict, frozen=True, kw_only=True):
    """Another flag that must give one variant; else this flag gives its `off` variant."""

    flag: Annotated[Name, Meta(description="Name of a Flag.")]
    variant: Annotated[Variant, Meta(description="What it has to give, for the same context.")]


class Flag(Strict, frozen=True, kw_only=True):
    """A value that operators change while everything runs. `podium flags` shows and tries them."""

    type: Annotated[FlagType, Meta(description="What all of its values are; `json`: an object or a list.")]
    variants: Annotated[
        dict[Variant, Any],
        Meta(
            description='The values that it may have, by name. Without any, a `boolean` has `{"on": true, "off":'
            " false}`.",
            max_length=50,
        ),
    ] = msgspec.field(default_factory=dict)
    default: Annotated[Variant, Meta(description="Name of the variant that is given where no rule decides.")] = OFF
    off: Annotated[Variant, Meta(description="Name of the variant that is given while the flag is not enabled.")] = OFF
    enabled: Annotated[bool, Meta(description="False is the kill switch: everybody is given `off`.")] = True
    rules: Annotated[tuple[Rule, ...], Meta(description="In order; the first that holds decides.", max_length=100)] = ()
    prerequisites: Annotated[
        tuple[Prerequisite, ...], Meta(description="Other flags that this one depends on.", max_length=8)
    ] = ()
    salt: Annotated[
        str,
        Meta(
            description="Splits of flags with equal salts choose alike; a new salt deals anew. Empty: the flag's name.",
            max_length=128,
        ),
    ] = ""
    readers: Annotated[
        tuple[Text, ...],
        Meta(
            description="Tenants whose keys may read it by OFREP; `*` matches any run of characters. Empty: none, it"
            " is for gateways only.",
            max_length=1000,
        ),
    ] = ("*",)
    description: Annotated[str, Meta(description="What it is for.", max_length=2000)] = ""
    owner: Annotated[str, Meta(description="Whom to ask about it.", max_length=200)] = ""
    stale_after_days: Annotated[
        Annotated[int, Meta(ge=1, le=3650)] | None,
        Meta(description="After so many days without a change it is reported as stale; null: never."),
    ] = None

    def __post_init__(self) -> None:
        for name, value in self.variants.items():
            wrong = _wrong_value(self.type, value)
            if wrong:
                raise ValueError(f"`variants.{name}` {wrong}")
        if not self.variants and self.type != "boolean":
            raise ValueError("`variants` is empty")
        values = self.values
        for path, variant in self._named():
            if variant not in values:
                raise ValueError(f"`{path}`: there is no variant `{variant}`; there are {', '.join(values)}")
        if len({one.flag for one in self.prerequisites}) != len(self.prerequisites):
            raise ValueError("`prerequisites` names a flag twice")

    @property
    def values(self) -> Mapping[str, Any]:
        """The values by the names of their variants."""
        return self.variants or _BOOLEANS

    def _named(self) -> Iterator[tuple[str, str]]:
        """The key path of each use of a variant."""
        yield "default", self.default
        yield "off", self.off
        for index, rule in enumerate(self.rules):
            if rule.variant is not None:
                yield f"rules[{index}].variant", rule.variant
            for variant in rule.split:
                yield f"rules[{index}].split", variant


_BOOLEANS: dict[str, Any] = {"on": True, OFF: False}
_FORMS: dict[FlagType, tuple[tuple[type, ...], str]] = {
    "boolean": ((bool,), "is not `true` or `false`"),
    "string": ((str,), "is no text"),
    "number": ((int, float), "is no number"),
    "json": ((dict, list), "is no object and no list"),
}


def _wrong_value(kind: FlagType, value: Any) -> str:
    """What is wrong with a value of a variant; empty: nothing."""
    forms, sentence = _FORMS[kind]
    if not isinstance(value, forms) or (kind == "number" and isinstance(value, bool)):
        return sentence
    wrong = _wrong_json(value, _MAX_VALUE_DEPTH)
    if not wrong and len(msgspec.json.encode(value)) > _MAX_VALUE_BYTES:
        wrong = f"is longer than {_MAX_VALUE_BYTES} bytes"
    return wrong


def _wrong_number(value: float) -> str:
    return "" if math.isfinite(value) and abs(value) <= _MAX_NUMBER else "is beyond what JSON numbers can carry"


def _wrong_json(value: Any, depth: int) -> str:
    if isinstance(value, float | int):
        return _wrong_number(value)
    if isinstance(value, str) or value is None:
        return ""
    if not depth:
        return f"is nested deeper than {_MAX_VALUE_DEPTH}"
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list) or (
        isinstance(value, dict) and not all(isinstance(key, str) for key in value)
    ):
        return "is no JSON"
    return next((wrong for one in inner if (wrong := _wrong_json(one, depth - 1))), "")
