"""`chat`: a conversation in the terminal."""

import sys
from dataclasses import dataclass, field
from typing import Annotated

import typer

from podium.cli._command import INTERRUPTED, add
from podium.cli._gateway_client import Answer, ChatRequest, GatewayClient
from podium.cli._options import AsJson, ToGateway
from podium.cli._output import complain, note, print_json, printable
from podium.core.errors import OperatorError, PodiumError

__all__ = ["register"]

_LARGEST_PROMPT_BYTES = 8 << 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        "chat",
        chat,
        "podium chat",
        'podium chat "Name three rivers of Europe"',
        'podium chat --model default --system "Answer in French" --json "Good morning"',
        "git diff | podium chat - --max-tokens 200",
    )


def chat(
    gateway: ToGateway,
    prompt: Annotated[
        str | None, typer.Argument(help="One question; `-` reads it from standard input; none: a conversation.")
    ] = None,
    *,
    model: Annotated[str, typer.Option(help="Name of the model.")] = "default",
    system: Annotated[str, typer.Option(help="System prompt.")] = "",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.", show_default=False)] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="0: always alike.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Talk with a model: one question, or a conversation that ends with Ctrl-D. Ctrl-C cancels an answer."""
    peer = gateway.peer()
    question = _question(prompt)
    if as_json and question is None:
        raise OperatorError("--json needs a question.", hint='podium chat --json "..."')
    with GatewayClient(peer, gateway.key_for(peer.url)) as client:
        talk = _Talk(client, model, max_tokens, temperature)
        if system:
            talk.messages.append(("system", system))
        if question is None:
            _converse(talk)
        else:
            _ask_once(talk, question, as_json=as_json)


@dataclass(slots=True)
class _Talk:
    """A conversation and how to go on with it."""

    client: GatewayClient
    model: str
    max_tokens: int | None
    temperature: float | None
    messages: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, question: str, *, quiet: bool = False) -> Answer:
        """The answer, printed as it comes unless `quiet`; both turns are remembered when it is complete."""
        turns = [*self.messages, ("user", question)]
        answer = Answer()
        pieces = self.client.chat(ChatRequest(self.model, turns, self.max_tokens, self.temperature), answer)
        try:
            for piece in pieces:
                if not quiet:
                    typer.echo(printable(piece, lines=True), nl=False)
        finally:
            pieces.close()  # type: ignore[attr-defined]  # a generator: closing it hangs up
            if not quiet and answer.text:
                typer.echo()
        self.messages[:] = [*turns, ("assistant", answer.text)]
        return answer


def _question(prompt: str | None) -> str | None:
    """What to ask; None: hold a conversation."""
    if prompt not in (None, "-"):
        return prompt
    if prompt is None and sys.stdin.isatty():
        return None
    text = sys.stdin.read(_LARGEST_PROMPT_BYTES + 1)
    if len(text) > _LARGEST_PROMPT_BYTES:
        raise OperatorError("The question on standard input is longer than 8 MiB.")
    if not text.strip():
        raise OperatorError("There is no question on standard input.")
    return text


def _ask_once(talk: _Talk, question: str, *, as_json: bool) -> None:
    try:
        answer = talk.ask(question, quiet=as_json)
    except KeyboardInterrupt:
        note("podium: the answer was cancelled")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json(
            {
                "model": answer.model,
                "answer": answer.text,
                "finish_reason": answer.finish_reason,
                "usage": answer.usage,
                "request_id": answer.request_id,
            }
        )


def _converse(talk: _Talk) -> None:
    note(f"Talking with {talk.model}. Ctrl-C cancels an answer, Ctrl-D ends.")
    while True:
        try:
            question = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            note("")
            return
        if not question:
            continue
        try:
            talk.ask(question)
        except KeyboardInterrupt:
            note("(cancelled)")
        except PodiumError as error:
            complain(error)
