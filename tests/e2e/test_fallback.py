"""Which target gets what: the same request, in the same order, and a longer context only where it fits."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway import CANARY, Running, document_of, run_gateway
from tests.support.http import Answer, ask, chat

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL, LARGE, UNKNOWN = "gpt-4", "gpt-4o", "house-model"
TOO_LONG = "context_length_exceeded"


@pytest.fixture
def chaos() -> Iterator[Chaos]:
    scripts = {SMALL: TOO_LONG, "down-1": "500", "down-2": "500"}
    with run_chaos(ChaosConfig(scripts=scripts)) as server:
        yield server


@pytest.fixture
def gateway(chaos: Chaos, tmp_path: Path) -> Iterator[Running]:
    document = document_of(
        chaos.base_url,
        tmp_path / "ledger.db",
        retry={"max_retries": 0},
        routes={
            "larger": {"targets": [f"openai/{SMALL}", f"one/{UNKNOWN}", f"openai/{LARGE}"]},
            "not-larger": {"targets": [f"openai/{SMALL}", f"one/{UNKNOWN}"]},
            "order": {"targets": ["one/down-1", "two/down-2", "one/up"], "models": ["team-*"]},
            "named": {"targets": ["two/{model}"], "models": ["Mixed-*"]},
            "set": {"targets": ["one/up"], "set": {"temperature": 0, "metadata": {"team": "a"}}},
        },
        default_route="order",
    )
    document["providers"]["openai"] = {"base_url": chaos.base_url, "api_key": CANARY}
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


def post(running: Running, model: str, **fields) -> Answer:
    return asyncio.run(ask(running.port, chat(model, **fields)))


def test_context_length_goes_on_to_a_larger_window_only(gateway: Running, chaos: Chaos) -> None:
    answer = post(gateway, "larger")
    assert answer.status == 200
    assert answer.headers["x-holdfast-model"] == LARGE
    assert [entry.model for entry in chaos.journal()] == [SMALL, LARGE]


def test_context_length_is_passed_on_where_no_window_is_larger(gateway: Running, chaos: Chaos) -> None:
    answer = post(gateway, "not-larger")
    assert answer.status == 400
    assert answer.error["code"] == TOO_LONG
    assert [entry.model for entry in chaos.journal()] == [SMALL]


@pytest.mark.parametrize("name", ["order", "ORDER", "team-7", "anything-else"])
def test_order(gateway: Running, chaos: Chaos, name: str) -> None:
    for _ in range(3):
        chaos.reset()
        assert post(gateway, name).headers["x-holdfast-model"] == "up"
        assert [entry.model for entry in chaos.journal()] == ["down-1", "down-2", "up"]


def test_each_target_gets_the_same_request(gateway: Running, chaos: Chaos) -> None:
    """But for the model, byte for byte."""
    post(gateway, "order", text="same \u00e9 \U0001f600", seed=7, unknown={"a": [1, 2.50]}, stream=True)
    bodies = {entry.body.replace(f'"{entry.model}"'.encode(), b'"MODEL"') for entry in chaos.journal()}
    assert len(bodies) == 1
    sent = json.loads(bodies.pop())
    assert sent["stream_options"] == {"include_usage": True}  # usage is always asked of the provider
    assert (sent["seed"], sent["unknown"]) == (7, {"a": [1, 2.5]})


def test_patterns_keep_the_name_as_asked(gateway: Running, chaos: Chaos) -> None:
    assert post(gateway, "Mixed-Case").status == 200
    assert [entry.model for entry in chaos.journal()] == ["Mixed-Case"]


def test_a_route_sets_parameters(gateway: Running, chaos: Chaos) -> None:
    assert post(gateway, "set", temperature=1, seed=3).status == 200
    sent = json.loads(chaos.journal()[0].body)
    assert (sent["temperature"], sent["metadata"], sent["seed"]) == (0, {"team": "a"}, 3)
