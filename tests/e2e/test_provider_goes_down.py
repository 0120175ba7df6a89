"""A provider that resets the attempt that it has, and then takes no connection: the fault table's rows for that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.e2e.fault_rows import BASE_S, BOTH, DOWN, MAX_S, PATIENCE_S, TOKENS, TOTAL_S, Row
from tests.support.gateway import document_of, run_gateway
from tests.support.http import ask, chat
from tests.support.joined import Joined, check_ledger, numbered

from holdfast.chaos import ChaosConfig, run_chaos

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("backed", [False, True], ids=["alone", "backed"])
@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("row", DOWN, ids=lambda row: row.name)
def test_it_is_tried_as_told_and_another_one_serves(
    tmp_path: Path, row: Row, mode: str, backed: bool
) -> None:
    outcome = row.pair.backed if backed else row.pair.alone
    first_script = ChaosConfig(default=row.script, tokens=TOKENS)
    with run_chaos(first_script) as first, run_chaos(ChaosConfig(tokens=TOKENS)) as second:
        document = document_of(
            first.base_url,
            tmp_path / "ledger.db",
            models=["m.1", "m.2"],
            timeouts={
                "connect_s": 0.3,
                "first_token_s": PATIENCE_S,
                "answer_s": PATIENCE_S,
                "total_s": TOTAL_S,
            },
            retry={"base_s": BASE_S, "max_s": MAX_S, "jitter": 0},
            routes={"ask": {"targets": ["one/m.1", "two/m.2"] if backed else ["one/m.1"]}},
        )
        document["providers"]["two"]["base_url"] = second.base_url
        with run_gateway(document) as gateway:
            answer = asyncio.run(ask(gateway.port, chat("ask", stream=mode == "stream")))
            entries = [*first.journal(), *second.journal()]
            record = gateway.record(answer.id)
            gateway.no_traceback()
    assert record.end is not None
    assert [f"{each.model[-1]} {each.outcome}" for each in record.end.attempts] == list(outcome.attempts)
    assert [entry.model for entry in entries] == (["m.1", "m.2"] if backed else ["m.1"])
    assert answer.status == record.end.status == outcome.status
    assert outcome.within is not None
    assert answer.seconds < outcome.within
    check_ledger(Joined(answer, entries, record))
    if outcome.ok:
        assert answer.text == numbered(entries[-1].nonce, TOKENS)
        return
    assert answer.error["code"] == outcome.code
    assert answer.headers["x-should-retry"] == "false"
