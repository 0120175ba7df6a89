"""One deadline over all attempts, waits and targets: the answer ends by it, and nothing starts that can't finish."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway import FREE_RETRIES, document_of, run_gateway
from tests.support.http import Answer, ask, chat
from tests.support.joined import Joined, check_ledger
from tests.support.stalls import undisturbed

from holdfast.chaos import ChaosConfig, run_chaos

if TYPE_CHECKING:
    from pathlib import Path

TOTAL_S = 0.7
LATE_S = 0.25  # promised are 50 ms, which virtual time proves; this machine may be busy


@dataclass(frozen=True)
class Case:
    """What two targets do until the time is over."""

    name: str
    first: str
    attempts: tuple[str, ...]
    status: int = 504
    stream: bool = False
    second: str | None = None
    code: str = "all_targets_failed"
    at_once: bool = False
    """It ends before the deadline: waiting for it could bring nothing."""

    @property
    def key(self) -> str:
        return self.name.replace(" ", "-")


CASES = [
    Case("silence", "hang", ("1 timed_out",) * 2),  # after 0.5 s, and after the 0.2 s that are left
    Case("silence streamed", "hang", ("1 timed_out",) * 2, stream=True),
    Case("silence at both", "hang", ("1 timed_out", "2 timed_out"), second="hang"),
    Case("a body without end", "slow=0.3 headers=late tps=1 stall=3", ("1 timed_out",)),
    Case("a stream without end", "tps=50 tokens=100000", ("1 timed_out",), 200, stream=True, code="provider_timeout"),
    Case("a wait beyond it", "500; 429 retry_after=5", ("1 server_failed", "1 rate_limited"), 502, at_once=True),
    Case("waits that add up", "429 retry_after=0.4", ("1 rate_limited",) * 2, 429, at_once=True),
]  # fmt: skip  # a table reads better with a row to a line


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Joined]:
    return undisturbed(lambda: measured(tmp_path_factory.mktemp("deadline")))


def measured(folder: Path) -> dict[str, Joined]:
    scripts = {f"{case.key}.1": case.first for case in CASES}
    scripts |= {f"{case.key}.2": case.second for case in CASES if case.second}
    with run_chaos(ChaosConfig(scripts=scripts)) as chaos:
        document = document_of(
            chaos.base_url,
            folder / "ledger.db",
            models=[f"{case.key}.{i}" for case in CASES for i in (1, 2)],
            timeouts={"first_token_s": 0.5, "answer_s": 0.5, "idle_s": 0.6, "total_s": TOTAL_S},
            retry={"max_retries": 5, "base_s": 0.01, "max_s": 2, "jitter": 0, **FREE_RETRIES},
            routes={
                case.key: {"targets": [f"one/{case.key}.1", *([f"two/{case.key}.2"] if case.second else [])]}
                for case in CASES
            },
        )
        with run_gateway(document) as gateway:

            async def ask_all() -> list[Answer]:
                return await asyncio.gather(
                    *(
                        ask(gateway.port, chat(case.key, stream=case.stream, max_tokens=10**6))
                        for case in CASES
                    )
                )

            answers = asyncio.run(ask_all())
            journal = chaos.wait_for(lambda entries: all(entry.end for entry in entries))
            records = gateway.records()
            gateway.no_traceback()
    return {
        case.key: Joined(
            answer,
            [entry for entry in journal if (entry.model or "").rpartition(".")[0] == case.key],
            records[answer.id],
        )
        for case, answer in zip(CASES, answers, strict=True)
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_ends_by_it(case: Case, results: dict[str, Joined]) -> None:
    joined = results[case.key]
    answer = joined.answer
    assert [f"{row.model[-1]} {row.outcome}" for row in joined.rows] == list(case.attempts)
    assert answer.status == case.status
    error = answer.events[-1].json["error"] if answer.streamed else answer.error
    assert error["code"] == case.code
    assert answer.seconds < TOTAL_S + LATE_S
    assert answer.seconds < TOTAL_S if case.at_once else answer.seconds > TOTAL_S - 0.01
    assert all((entry.ended_ns or 0) / 1e9 < answer.started + TOTAL_S + LATE_S for entry in joined.entries)
    check_ledger(joined)
