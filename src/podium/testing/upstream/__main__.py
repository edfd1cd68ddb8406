"""`python -m podium.testing.upstream`: the simulator as a process of its own."""

import argparse
import asyncio
import json
import signal
import sys

from podium.testing.upstream.protocols import UpstreamProtocol
from podium.testing.upstream.simulator import Simulator

_DESCRIPTION = """\
A model provider that is not there: OpenAI, Azure, Anthropic, Gemini and Bedrock on one port. The first line on
stdout is JSON: the port, and each protocol's base URL. See podium.testing.upstream.specs for the behaviours;
POST /simulate changes them while it runs.
"""


async def _serve(simulator: Simulator) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with simulator:
        urls = {protocol.value: simulator.base_url(protocol) for protocol in sorted(simulator.protocols)}
        sys.stdout.write(json.dumps({"port": simulator.port, "base_urls": urls}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m podium.testing.upstream", description=_DESCRIPTION)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument(
        "--protocol", action="append", choices=[*UpstreamProtocol], help="may be repeated; default: all"
    )
    parser.add_argument("--behaviour", default="plain", help="a mode, or a spec such as slow=2s,share=0.1")
    parser.add_argument("--model", action="append", help="a model that it knows; may be repeated; default: any name")
    parser.add_argument("--no-keys", action="store_true", help="do not ask for credentials")
    parser.add_argument("--seed", type=int, default=0, help="of latencies and shares")
    parser.add_argument("--kept-requests", type=int, default=1000, help="how many are kept for GET /simulate/requests")
    chosen = parser.parse_args(arguments)
    try:
        simulator = Simulator(
            [UpstreamProtocol(name) for name in chosen.protocol or UpstreamProtocol],
            behaviour=chosen.behaviour,
            models=tuple(chosen.model) if chosen.model else None,
            check_keys=not chosen.no_keys,
            host=chosen.host,
            port=chosen.port,
            seed=chosen.seed,
            kept_requests=chosen.kept_requests,
        )
    except ValueError as error:
        parser.error(str(error))
    _run(simulator)


def _run(simulator: Simulator) -> None:
    import uvloop  # noqa: PLC0415 - only the process that serves needs it

    uvloop.run(_serve(simulator))


if __name__ == "__main__":
    main()
