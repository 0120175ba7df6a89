"""``holdfast demo``"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from holdfast.cli.output import complain, say, say_json

if TYPE_CHECKING:
    from holdfast.cli.demo_show import Outcome, Show
    from holdfast.client import Client
    from holdfast.ledger.memory import MemoryLedger

__all__ = ["demo"]

_PROMPTS = Path(__file__).with_name("prompts.txt")


def demo(
    *,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            "-p",
            metavar="FILE",
            help='One prompt a line, or JSON lines with a "prompt". Default: 40 that come with Holdfast.',
        ),
    ] = None,
    concurrency: Annotated[
        int,
        typer.Option("--concurrency", "-n", min=1, max=100, metavar="N", help="Prompts under way at once."),
    ] = 4,
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="N", help="Of chance: backoff and answers.")
    ] = 0,
    answers: Annotated[
        Path | None, typer.Option("--answers", metavar="FILE", help="Write the answers there, as JSON lines.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON, and no live view.")] = False,
) -> None:
    """Watch answers arrive while providers fail: prompts through a route of four, in three dialects.

    Four simulated providers speak as OpenAI, Anthropic, DeepSeek and Gemini do, over real sockets. The
    first three fail in changing ways: rate limits, resets, cut streams, hangs, errors inside a 200. No key is
    needed and nothing leaves this machine.

    \b
    Examples:
      holdfast demo                                 the whole show, in about ten seconds
      holdfast demo --prompts mine.txt              your prompts, one a line
      holdfast demo --json                          for programs

    Exit codes: 0 every prompt was answered; 1 one wasn't, or a file can't be used.
    """
    # Imported here: they take longer to import than other commands take to run.
    from holdfast.cli.demo_show import Show, tell
    from holdfast.cli.demo_stage import stage

    asked = _read(prompts if prompts is not None else _PROMPTS)
    if not asked:
        complain(f"{prompts} holds no prompt: write one a line")
        raise typer.Exit(1)
    if not as_json:
        say(f"{len(asked)} prompts for four simulated providers; three of them will fail.")
    with stage(seed) as config:
        show = Show(len(asked), visible=not as_json)
        outcomes, seconds = asyncio.run(_play(config, asked, concurrency, seed, show))
    if answers is not None:
        answers.write_bytes(b"".join(msgspec.json.encode(_answer(each)) + b"\n" for each in outcomes))
    if as_json:
        say_json({**show.tally.json(), "seconds": round(seconds, 3)})
    else:
        tell(show.tally, seconds)
    if show.tally.answered < len(asked):
        raise typer.Exit(1)


async def _play(
    config: Any, asked: list[str], concurrency: int, seed: int, show: "Show"
) -> "tuple[list[Outcome], float]":
    import random

    from holdfast.client import Client
    from holdfast.clock import SystemClock
    from holdfast.ledger.memory import MemoryLedger

    clock = SystemClock()
    ledger = MemoryLedger(clock)
    started = clock.monotonic()
    places = asyncio.Semaphore(concurrency)
    with show:
        async with Client(config, ledger=ledger, clock=clock, rng=random.Random(seed)) as client:

            async def one(number: int, prompt: str) -> "Outcome":
                async with places:
                    outcome = await _ask(client, ledger, number, prompt)
                    show.add(outcome)
                    return outcome

            outcomes = await asyncio.gather(*(one(at, prompt) for at, prompt in enumerate(asked, 1)))
    return outcomes, clock.monotonic() - started


async def _ask(client: "Client", ledger: "MemoryLedger", number: int, prompt: str) -> "Outcome":
    from holdfast.cli.demo_show import Outcome
    from holdfast.cli.demo_stage import ROUTE
    from holdfast.errors import HoldfastError

    text, failure = None, None
    tag = str(number)
    try:
        async with client.stream(prompt, ROUTE, tags={"prompt": tag}) as stream:
            text = "".join([chunk.text async for chunk in stream])
    except HoldfastError as error:
        failure = error.message
    record = next(record for record in ledger.records() if record.intent.tags["prompt"] == tag)
    return Outcome(number=number, prompt=prompt, text=text, error=failure, record=record)


def _answer(outcome: "Outcome") -> dict[str, Any]:
    return {
        "prompt": outcome.prompt,
        "answer": outcome.text,
        "provider": outcome.provider,
        "attempts": [f"{row.provider}: {row.outcome}" for row in outcome.rows],
        "error": outcome.error,
    }


def _read(file: Path) -> list[str]:
    """The prompts in ``file``. Raises typer.Exit, having said which line can't be used."""
    found: list[str] = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        complain(f"{file} isn't UTF-8 text")
        raise typer.Exit(1) from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        if file.suffix not in (".jsonl", ".ndjson"):
            found.append(line.strip())
            continue
        try:
            found.append(msgspec.json.decode(line, type=_Row).prompt)
        except msgspec.DecodeError as error:
            complain(f'{file}, line {number}: {error}; a line must look like {{"prompt": "…"}}')
            raise typer.Exit(1) from None
    return found


class _Row(msgspec.Struct):
    prompt: str
