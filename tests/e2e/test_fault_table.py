"""The fault table: each way in which a provider can fail, streamed and whole, alone and with a second target.

All rows (in `fault_rows`) run at once against one gateway and one provider that fails on purpose; then each is judged by
what the client saw, what the provider served and what the ledger says.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.fault_rows import BASE_S, BOTH, CHAINS, MAX_S, PATIENCE_S, TABLE, TOKENS, TOTAL_S, Outcome
from tests.support.gateway import CANARY, FREE_RETRIES, Running, document_of, run_gateway
from tests.support.http import Answer, ask, chat
from tests.support.joined import Joined, check_ledger

from holdfast.chaos import ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(600)  # all rows run in one fixture, and the machine may have other work

AT_ONCE = 12


@dataclass(frozen=True)
class Case:
    """One request: a row of either table, a mode, and whether there is a second target."""

    name: str
    mode: str
    first: str
    second: str | None
    outcome: Outcome
    fields: dict[str, Any]
    route: dict[str, Any]

    @property
    def key(self) -> str:
        """The route's name; the targets' models begin with it."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.name} {self.mode}".lower()).strip("-")

    @property
    def model_1(self) -> str:
        return f"{self.key}.1"

    @property
    def model_2(self) -> str:
        return f"{self.key}.2"

    @property
    def streamed(self) -> bool:
        return self.mode == "stream"


def _cases() -> Iterator[Case]:
    for row in filter(lambda row: row.is_for("openai_chat"), TABLE):
        for mode in row.modes:
            for second, outcome in ((None, row.pair.alone), ("ok", row.pair.backed)):
                name = f"{row.name} {'backed' if second else 'alone'}"
                yield Case(name, mode, row.script, second, outcome, row.fields, row.route)
    for chain, mode in itertools.product(CHAINS, BOTH):
        yield Case(f"chain {chain.name}", mode, chain.first, chain.second, chain.outcome, {}, chain.route)


CASES = list(_cases())


@dataclass
class Result(Joined):
    """A case, run."""

    direct: bytes
    """What the provider says when it is asked without us, where that is to be passed on."""


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Result]]:
    """Every case that some test asks for, run."""
    assert len({case.key for case in CASES}) == len(CASES)
    chosen = {
        item.callspec.params["case"].key
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path and "case" in item.callspec.params
    }
    cases = [case for case in CASES if case.key in chosen]
    scripts = {case.model_1: case.first for case in CASES if case.first != "refused"}
    scripts |= {case.model_2: case.second for case in CASES if case.second}
    ledger = tmp_path_factory.mktemp("fault-table") / "ledger.db"
    with socket.socket() as closed, run_chaos(ChaosConfig(scripts=scripts, tokens=TOKENS)) as chaos:
        closed.bind(
            ("127.0.0.1", 0)
        )  # bound and not listening: connections are refused, and nobody else gets the port
        document = document_of(
            chaos.base_url,
            ledger,
            models=[name for case in CASES for name in (case.model_1, case.model_2)],
            timeouts={
                "first_token_s": PATIENCE_S, "answer_s": PATIENCE_S, "idle_s": PATIENCE_S, "total_s": TOTAL_S,
            },
            retry={"base_s": BASE_S, "max_s": MAX_S, "jitter": 0, **FREE_RETRIES},
            breaker={"enabled": False},
            routes={case.key: _route(case) for case in CASES},
        )  # fmt: skip
        document["providers"]["closed"] = {
            "dialect": "openai_chat", "api_key": CANARY, "base_url": f"http://127.0.0.1:{closed.getsockname()[1]}/v1",
        }  # fmt: skip
        with run_gateway(document) as gateway:
            answers = asyncio.run(_ask_all(gateway, cases))
            records = gateway.records()
            journal = chaos.journal()
            gateway.no_traceback()
            direct = asyncio.run(_ask_directly(chaos.port, cases))
            yield {
                case.key: Result(
                    answer,
                    [entry for entry in journal if entry.model in (case.model_1, case.model_2)],
                    records[answer.id],
                    direct.get(case.key, b""),
                )
                for case, answer in zip(cases, answers, strict=True)
            }


def _route(case: Case) -> dict[str, Any]:
    first = f"{'closed' if case.first == 'refused' else 'one'}/{case.model_1}"
    targets = [first, f"two/{case.model_2}"] if case.second else [first]
    return {"targets": targets, **case.route}


async def _ask_all(gateway: Running, cases: list[Case]) -> list[Answer]:
    """The answers, in the order of ``cases``. What keeps the machine busy goes first, so that it makes no other row late."""
    turn = asyncio.Semaphore(AT_ONCE)
    answers: dict[str, Answer] = {}

    async def one(case: Case) -> None:
        async with turn:
            answers[case.key] = await ask(gateway.port, chat(case.key, stream=case.streamed, **case.fields))

    busy = [case for case in cases if "timeouts" in case.route]
    for group in (busy, [case for case in cases if case not in busy]):
        await asyncio.gather(*(one(case) for case in group))
    return [answers[case.key] for case in cases]


async def _ask_directly(port: int, cases: list[Case]) -> dict[str, bytes]:
    """What the provider itself says where its words are passed on: of a stream, the error event's."""
    said: dict[str, bytes] = {}
    for case in cases:
        if case.outcome.passed_on:
            model = case.model_1 if case.outcome.attempts[-1].startswith("1") else case.model_2
            answer = await ask(port, chat(model, stream=case.streamed))
            events = [event for event in answer.events if event.is_error] if answer.streamed else []
            said[case.key] = (events[0].data or "").encode() if events else answer.body
    return said


@pytest.fixture
def joined(results: dict[str, Result], case: Case) -> Result:
    return results[case.key]


every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} {case.mode}")


@every_case
def test_attempts_at_the_provider(case: Case, joined: Result) -> None:
    """How many, where, in which order and how far apart."""
    seen = [f"{entry.model[-1]}" for entry in joined.entries]
    expected = [name.split()[0] for name in case.outcome.attempts if "connect_failed" not in name]
    assert seen == expected
    for gap, pause, least in zip(joined.gaps, joined.pauses, case.outcome.gaps, strict=False):
        # uvloop counts whole milliseconds
        assert gap >= least - 0.002, f"arrived {gap:.4f} s after the one before"
        assert pause >= least - 0.002, f"began {pause:.4f} s after a failure"
    if case.outcome.within is not None:
        assert joined.answer.seconds < case.outcome.within


@every_case
def test_what_the_caller_is_told(case: Case, joined: Result) -> None:
    """Status, error and headers."""
    outcome, answer = case.outcome, joined.answer
    assert answer.status == outcome.status
    assert answer.whole
    assert answer.attempts == len(outcome.attempts)
    assert answer.headers["x-request-id"] == answer.id
    if outcome.status == 200:
        _check_attribution(case, answer)
        return
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers.get("retry-after") == outcome.retry_after
    if outcome.passed_on:
        return
    assert answer.headers["content-type"] == "application/json"
    error = answer.error
    assert error["code"] == outcome.code
    assert error["request_id"] == answer.id
    assert error["message"]
    if outcome.code == "all_targets_failed":
        told = [f"{attempt['target'][-1]} {attempt['error']}" for attempt in error["attempts"]]
        assert told == list(outcome.attempts)


def _check_attribution(case: Case, answer: Answer) -> None:
    server = case.outcome.attempts[-1].split()[0]
    model = case.model_1 if server == "1" else case.model_2
    assert answer.headers["x-holdfast-model"] == model
    assert answer.headers["x-holdfast-provider"] == {"1": "one", "2": "two"}[server]
    if case.streamed:
        assert answer.headers["content-type"].startswith("text/event-stream")
    if case.streamed:
        assert {chunk["model"] for chunk in answer.chunks} == {model}
        assert len({chunk["id"] for chunk in answer.chunks}) == 1
    else:
        assert answer.json["model"] == model


@every_case
def test_what_is_delivered(case: Case, joined: Result) -> None:
    """Text byte for byte from one attempt, and one ending."""
    outcome, answer = case.outcome, joined.answer
    if outcome.status != 200:
        assert not outcome.passed_on or answer.body == joined.direct
        return
    serving = joined.entries[-1]
    numbers = range(outcome.tokens) if outcome.numbers is None else outcome.numbers
    assert answer.text == "".join(f"{serving.nonce}:{i} " for i in numbers)
    if outcome.ok:
        assert answer.text == serving.text or "repeat=" in case.first  # the journal has it once
        assert answer.finish_reasons == [outcome.finish] * case.fields.get("n", 1)
    else:
        assert serving.text.startswith(answer.text)
        assert answer.finish_reasons == []
    if not case.streamed:
        return
    events = [event for event in answer.events if event.data is not None]
    endings = [event for event in events if event.is_end or event.is_error]
    assert endings == [events[-1]], "there is one ending, and nothing after it"
    if outcome.ok:
        assert endings[0].is_end
    else:
        assert endings[0].json["error"]["code"] == outcome.code
        assert endings[0].json["error"]["request_id"] == answer.id
    usages = [chunk["usage"] for chunk in answer.chunks if chunk.get("usage")]
    asked = bool(case.fields.get("stream_options")) and outcome.ok and outcome.usage != "none"
    assert len(usages) == int(asked)
    if asked:
        truly = serving.usage.completion_tokens
        assert (usages[0]["completion_tokens"] == truly) == (outcome.usage == "true")


@every_case
def test_what_the_ledger_says(case: Case, joined: Result) -> None:
    outcome, record = case.outcome, joined.record
    end = record.end
    assert end is not None
    assert record.state == ("ok" if outcome.ok else "failed")
    assert end.status == outcome.status
    assert [f"{row.model[-1]} {row.outcome}" for row in joined.rows] == list(outcome.attempts)
    assert (record.intent.model, record.intent.stream) == (case.key, case.streamed)
    check_ledger(joined, usage=outcome.usage)
    if outcome.ok:
        assert end.finish_reason == outcome.finish
        assert (end.usage is None) == (outcome.usage == "none")
        counted = end.usage is not None and end.usage.input_tokens is not None
        if counted and (told := _told(joined.answer)) is not None:
            assert (end.usage.input_tokens, end.usage.output_tokens) == told
        assert end.error_label is None
    else:
        assert end.error_label
        assert end.error


def _told(answer: Answer) -> tuple[int, int] | None:
    """What the caller was told of the tokens, if anything."""
    values = [chunk.get("usage") for chunk in answer.chunks] if answer.streamed else [answer.json["usage"]]
    usage = next(filter(None, values), None)
    return usage and (usage["prompt_tokens"], usage["completion_tokens"])
