"""The fault table's rows for the other dialects: callers and providers of Anthropic's, of Google's, and crossed.

What is judged is what holds in every dialect: how often and where it was asked, the status, whole answers that are whole,
broken ones that say so in the caller's own shape, and what the ledger has. The rest is `test_fault_table`'s.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.fault_lanes import ELSEWHERE, LANES, Lane, heard, question
from tests.e2e.fault_rows import BASE_S, MAX_S, PATIENCE_S, TABLE, TOKENS, TOTAL_S, Outcome
from tests.support.gateway import CANARY, FREE_RETRIES, Running, document_of, run_gateway
from tests.support.http import Answer, ask
from tests.support.joined import Joined, check_ledger

from holdfast.chaos import ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)  # all rows run in one fixture, and the machine may have other work

AT_ONCE = 12
VERSION = {"anthropic-version": "2023-06-01"}
MODES = ["plain", "stream"]


@dataclass(frozen=True)
class Case:
    """One request: a row, a lane, a mode, and whether there is a second target."""

    lane: Lane
    name: str
    mode: str
    first: str
    outcome: Outcome
    route: dict[str, Any]
    backed: bool

    @property
    def key(self) -> str:
        """The route's name; the targets' models begin with it."""
        words = f"{self.lane.name} {self.name} {self.mode} {'backed' if self.backed else 'alone'}"
        return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")

    @property
    def models(self) -> tuple[str, str]:
        return f"{self.key}.1", f"{self.key}.2"

    @property
    def streamed(self) -> bool:
        return self.mode == "stream"


def _cases() -> Iterator[Case]:
    for lane in LANES:
        for row in TABLE:
            if not row.is_for(lane.provider) or row.fields or row.name.startswith(("huge", "gzip bomb")):
                continue  # fields of OpenAI's own; and what is too large is so in every dialect
            pair = ELSEWHERE.get((lane.provider, row.name), row.pair)
            if pair is None:
                continue
            for mode in row.modes:
                yield Case(lane, row.name, mode, row.script, pair.alone, row.route, backed=False)
                if lane.backed:
                    yield Case(lane, row.name, mode, row.script, pair.backed, row.route, backed=True)


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
    scripts = {case.models[0]: case.first for case in CASES if case.first != "refused"}
    scripts |= {case.models[1]: "ok" for case in CASES if case.backed}
    with socket.socket() as closed, run_chaos(ChaosConfig(scripts=scripts, tokens=TOKENS)) as chaos:
        closed.bind(("127.0.0.1", 0))  # and not listening: connections are refused
        document = document_of(
            chaos.base_url,
            tmp_path_factory.mktemp("fault-dialects") / "ledger.db",
            models=[model for case in cases for model in case.models],
            timeouts={
                "first_token_s": PATIENCE_S, "answer_s": PATIENCE_S, "idle_s": PATIENCE_S, "total_s": TOTAL_S,
            },
            retry={"base_s": BASE_S, "max_s": MAX_S, "jitter": 0, **FREE_RETRIES},
            breaker={"enabled": False},
            routes={case.key: _route(case) for case in cases},
        )  # fmt: skip
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        document["providers"] = {
            name: {"dialect": dialect, "base_url": base, "api_key": CANARY}
            for dialect, path in (("anthropic", "/v1"), ("gemini", "/v1beta"), ("openai_chat", "/v1"))
            for name, base in ((_name(dialect), chaos.url + path), (f"{_name(dialect)}-closed", dead + path))
        }
        with run_gateway(document) as gateway:
            answers = asyncio.run(_ask_all(gateway, cases))
            records = gateway.records()
            journal = chaos.journal()
            gateway.no_traceback()
            direct = asyncio.run(_ask_directly(chaos.port, cases))
            entries: dict[str, list[Any]] = {}
            for entry in journal:
                entries.setdefault(entry.model.rpartition(".")[0], []).append(entry)
            yield {
                case.key: Result(
                    answer,
                    entries.get(case.key, []),
                    records[answer.id],
                    direct.get(case.key, b""),
                )
                for case, answer in zip(cases, answers, strict=True)
            }


def _name(dialect: str) -> str:
    return dialect.replace("_", "-")


def _quotes(case: Case) -> bool:
    """The answer is the provider's own words, whatever they are."""
    return case.outcome.passed_on and case.lane.native


def _route(case: Case) -> dict[str, Any]:
    name = _name(case.lane.provider)
    first, second = case.models
    targets = [f"{name}-closed/{first}" if case.first == "refused" else f"{name}/{first}"]
    return {"targets": [*targets, f"{name}/{second}"] if case.backed else targets, **case.route}


async def _ask_all(gateway: Running, cases: list[Case]) -> list[Answer]:
    turn = asyncio.Semaphore(AT_ONCE)
    answers: dict[str, Answer] = {}

    async def one(case: Case) -> None:
        path, body = question(case.lane.caller, case.key, stream=case.streamed)
        async with turn:
            answers[case.key] = await ask(gateway.port, body, path=path)

    busy = [case for case in cases if "timeouts" in case.route]
    for group in (busy, [case for case in cases if case not in busy]):
        await asyncio.gather(*(one(case) for case in group))
    return [answers[case.key] for case in cases]


async def _ask_directly(port: int, cases: list[Case]) -> dict[str, bytes]:
    said: dict[str, bytes] = {}
    for case in cases:
        if _quotes(case):
            path, body = question(case.lane.caller, case.models[0], stream=case.streamed)
            said[case.key] = (await ask(port, body, path=path, headers=VERSION)).body
    return said


@pytest.fixture
def joined(results: dict[str, Result], case: Case) -> Result:
    return results[case.key]


every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)


@every_case
def test_attempts(case: Case, joined: Result) -> None:
    """How many, where and in which order: as the provider saw them, as the ledger has them, as the caller is told."""
    outcome, end = case.outcome, joined.record.end
    seen = [entry.model[-1] for entry in joined.entries]
    assert seen == [name.split()[0] for name in outcome.attempts if "connect_failed" not in name]
    assert end is not None
    assert [f"{row.model[-1]} {row.outcome}" for row in joined.rows] == list(outcome.attempts)
    assert joined.answer.attempts == len(outcome.attempts)
    assert joined.record.state == ("ok" if outcome.ok else "failed")
    assert end.status == outcome.status
    if outcome.within is not None:
        assert joined.answer.seconds < outcome.within
    check_ledger(joined, usage=outcome.usage)


@every_case
def test_what_the_caller_hears(case: Case, joined: Result) -> None:
    """A whole answer of one attempt, or an error in its own shape, and never one that looks like the other."""
    outcome, answer = case.outcome, joined.answer
    assert answer.status == outcome.status
    assert answer.whole
    if outcome.ok:
        said = heard(case.lane.caller, answer)
        assert said.error is None
        assert said.ended
        assert said.finish
        assert said.text == _served(outcome, joined) != ""
        return
    if outcome.status != 200:
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers.get("retry-after") == outcome.retry_after
        assert answer.headers["content-type"].startswith("application/json") or outcome.passed_on
    if _quotes(case):
        assert _unnumbered(answer.body) == _unnumbered(joined.direct)
        return
    said = heard(case.lane.caller, answer)
    assert said.error is not None
    assert not said.ended
    assert said.finish is None
    assert said.after == 0
    if outcome.broken:
        assert joined.entries[-1].text.startswith(said.text)


def _served(outcome: Outcome, joined: Result) -> str:
    entry = joined.entries[-1]
    if outcome.numbers is None:
        return entry.text
    return "".join(f"{entry.nonce}:{i} " for i in outcome.numbers)


def _unnumbered(body: bytes) -> Any:
    """An error body without what differs from request to request; of a stream, the error's event alone."""
    data = [line for line in body.splitlines() if line.startswith(b"data:") and b'"error"' in line]
    try:
        value = json.loads(data[-1].removeprefix(b"data:") if data else body)
    except ValueError:
        return body
    value.pop("request_id", None)
    return value


@pytest.mark.parametrize("stream", [False, True], ids=MODES)
@pytest.mark.parametrize("caller", ["gemini", "anthropic"])
def test_a_blocked_prompt(tmp_path: Path, caller: str, stream: bool) -> None:
    """Google's 200 without a candidate goes to nobody else, and is a refusal in every dialect."""
    with run_chaos(ChaosConfig(scripts={"blocked": "content_policy"})) as chaos:
        document = document_of(chaos.base_url, tmp_path / "ledger.db", models=["blocked", "ok"])
        google = {"dialect": "gemini", "base_url": f"{chaos.url}/v1beta", "api_key": CANARY}
        document["providers"] = {"gemini": google}
        document["routes"] = {"ask": {"targets": ["gemini/blocked", "gemini/ok"]}}
        with run_gateway(document) as gateway:
            path, body = question(caller, "ask", stream=stream)
            answer = asyncio.run(ask(gateway.port, body, path=path))
            said = heard(caller, answer)
            assert (answer.status, said.text) == (200, "")
            if caller == "gemini":
                assert said.error == {"blockReason": "PROHIBITED_CONTENT"}
            else:
                assert (said.ended, said.finish) == (True, "refusal")
            assert [entry.model for entry in chaos.journal()] == ["blocked"]
            assert gateway.record(answer.id).end.finish_reason == "PROHIBITED_CONTENT"
