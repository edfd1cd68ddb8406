"""`keys`: API keys, from making to revoking."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli._command import add, examples, group
from podium.cli._options import AsJson, ToControl
from podium.cli._output import note, print_json, print_table, say
from podium.cli._times import duration_s, moment_text
from podium.cli.usage import Since, Until, print_report, time_span

if TYPE_CHECKING:
    from podium.cli._admin_answers import KeyView

__all__ = ["register"]

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, or the whole key.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the group."""
    keys = group("Create, list, label, rotate and revoke API keys, and show what they used.")
    app.add_typer(keys, name="keys", epilog=examples("podium keys create --tenant acme --name chatbot"))
    add(
        keys,
        "create",
        create,
        "podium keys create --tenant acme --name chatbot",
        "podium keys create --tenant acme --name trial --model 'smol*' --expires-in 30d",
        "podium keys create --tenant acme --name search --tier gold --tag team=a --tag project=shop",
        "podium keys create --tenant default --name deploy --admin --json",
    )
    add(keys, "list", list_keys, "podium keys list", "podium keys list --tenant acme --json")
    add(
        keys,
        "label",
        label,
        "podium keys label 3k9x7m2p4q8r --tier gold",
        "podium keys label 3k9x7m2p4q8r --tag team=b --tag project=shop",
        "podium keys label 3k9x7m2p4q8r --tier '' --no-tags",
    )
    add(keys, "rotate", rotate, "podium keys rotate 3k9x7m2p4q8r", "podium keys rotate 3k9x7m2p4q8r --grace 7d")
    add(keys, "revoke", revoke, "podium keys revoke 3k9x7m2p4q8r")
    add(keys, "usage", usage, "podium keys usage 3k9x7m2p4q8r --since 30d")


def create(
    control: ToControl,
    *,
    tenant: Annotated[str, typer.Option(help="The tenant that pays.", show_default=False)],
    name: Annotated[str, typer.Option(help="Who or what uses it, for people.", show_default=False)],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="A model it may use, `*` for any run of characters; may be repeated; none: all."),
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            "--endpoint",
            help="chat.completions, completions, embeddings, models, feedback, flags, or versions (choosing those of"
            " rollouts);"
            " may be repeated; none: all but versions.",
        ),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It may use the admin API.")] = False,
    tier: Annotated[
        str | None, typer.Option(help="A label that limits may be set for; none: the tenant's.", show_default=False)
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag",
            metavar="NAME=VALUE",
            help="What its exchanges are told by, for budgets and usage; may be repeated, up to 8 times.",
        ),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", help="How long it works, e.g. 30d; none: for ever.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it, this once."""
    from podium.cli._admin_client import AdminClient, NewKey  # noqa: PLC0415 - only where used

    expires = None if expires_in is None else time.time() + duration_s(expires_in, "--expires-in")
    wanted = NewKey(
        tenant=tenant,
        name=name,
        models=tuple(model or ("*",)),
        endpoints=tuple(endpoint or ("*",)),
        admin=admin,
        tier=tier or "",
        tags=_tags(tag or ()),
        expires_unix_s=expires,
    )
    with AdminClient(control) as client:
        issued = client.create_key(wanted)
    if as_json:
        print_json(issued)
        return
    say(issued.api_key)
    note("This is the only time that the key is shown. Keep it in a safe place.")


def list_keys(
    control: ToControl,
    *,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.", show_default=False)] = None,
    live: Annotated[bool, typer.Option("--live", help="Only those that are neither revoked nor expired.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the keys, revoked ones too."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        found = client.keys(tenant=tenant, live=live)
    if as_json:
        print_json(found)
        return
    columns = ("id", "tenant", "name", "state", "models", "endpoints", "admin", "tier", "tags", "created", "expires")
    print_table(columns, [_row(key) for key in found.keys], empty="There is no key.")


def label(
    control: ToControl,
    key: KeyId,
    *,
    tier: Annotated[
        str | None,
        typer.Option(
            help="A label that limits may be set for; empty: the tenant's; none: as it is.", show_default=False
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag",
            metavar="NAME=VALUE",
            help="All of its tags, instead of those it has; may be repeated, up to 8 times.",
        ),
    ] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Take all of its tags away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Change the tier and the tags of a key; every gateway knows them within two seconds."""
    from podium.cli._admin_client import AdminClient, Labels  # noqa: PLC0415 - only where used

    labels = Labels(tier=tier, tags=_tags(tag) if tag else {} if no_tags else None)
    with AdminClient(control) as client:
        labelled = client.label_key(_id(key), labels)
    if as_json:
        print_json(labelled)
    else:
        tags = ", ".join(f"{name}={value}" for name, value in labelled.tags.items())
        say(f"Key {labelled.id} ({labelled.name}): tier {labelled.tier or 'of its tenant'}, tags {tags or 'none'}.")


def rotate(
    control: ToControl,
    key: KeyId,
    *,
    grace: Annotated[str, typer.Option(help="How long the old secret still works, e.g. 24h; 0: not at all.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret and print it, this once; the old one works until the grace is over."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    seconds = duration_s(grace, "--grace")
    with AdminClient(control) as client:
        issued = client.rotate_key(_id(key), grace_s=seconds)
    if as_json:
        print_json(issued)
        return
    say(issued.api_key)
    note(f"The old secret works for {grace} more." if seconds else "The old secret does not work any more.")


def revoke(control: ToControl, key: KeyId, *, as_json: AsJson = False) -> None:
    """End a key for good; every gateway refuses it within two seconds."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        revoked = client.revoke_key(_id(key))
    if as_json:
        print_json(revoked)
    else:
        say(f"Key {revoked.id} ({revoked.name}) is revoked.")


def usage(control: ToControl, key: KeyId, *, since: Since = None, until: Until = None, as_json: AsJson = False) -> None:
    """Add up what a key used, by model."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    span = time_span(since, until)
    with AdminClient(control) as client:
        report = client.key_usage(_id(key), ("model",), span)
    print_report(report, as_json=as_json)


def _tags(given: Sequence[str]) -> dict[str, str]:
    from podium.core.errors import InvalidRequest  # noqa: PLC0415 - only where used
    from podium.core.tags import parse_tags  # noqa: PLC0415 - only where used

    try:
        return parse_tags(",".join(given))
    except ValueError as error:
        raise InvalidRequest(f"--tag: {error}", hint="for example: --tag team=search") from None


def _id(text: str) -> str:
    """The id alone; a whole key is not sent, and so not logged, anywhere."""
    from podium.identity.keys import parse_api_key  # noqa: PLC0415 - only where used

    key = parse_api_key(text.strip())
    return key.id if key else text.strip().removeprefix("pk_")


def _row(key: "KeyView") -> tuple[object, ...]:
    from podium.cli._admin_answers import key_state  # noqa: PLC0415 - only where used

    return (
        key.id,
        key.tenant,
        key.name,
        key_state(key),
        ", ".join(key.models),
        ", ".join(key.endpoints),
        key.admin,
        key.tier,
        ", ".join(f"{name}={value}" for name, value in key.tags.items()),
        moment_text(key.created_unix_s),
        moment_text(key.expires_unix_s),
    )
