"""What is said of a budget that is nearly spent."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from tests.simulation.chat_wire import request, whole
from tests.unit.gateway.door import CONFIG, Door

from holdfast.gateway import budget_headers
from holdfast.gateway.budget_headers import log_warning, warning_of
from holdfast.money.account import Account
from holdfast.money.rules import BudgetRule
from holdfast.testing.virtual_time import VirtualClock, run_virtual

HOUR_NS = 3_600 * 10**9


@pytest.fixture(autouse=True)
def unbound():
    """A logger keeps the configuration of its first use, which may have been another test's."""
    vars(budget_headers._log).pop("bind", None)


def spent(amount: int, **fields: object) -> Account:
    account = Account(BudgetRule(**{"name": "daily", "window": "day", **fields}), "ann")
    account.charge(amount, HOUR_NS)
    return account


@pytest.mark.parametrize(
    ("account", "said"),
    [
        (
            spent(4_100_000_000, limit_nano=5 * 10**9),
            b"daily; window=day; spent-usd=4.100000000; limit-usd=5.000000000",
        ),
        (spent(90, limit_tokens=100), b"daily; window=day; spent-tokens=90; limit-tokens=100"),
        (
            spent(90, limit_tokens=100, name="key ann: tokens, day"),
            b'"key ann: tokens, day"; window=day; spent-tokens=90; limit-tokens=100',
        ),
        (
            spent(90, limit_tokens=100, name="cost_protection.hourly", window="hour"),
            b"cost_protection.hourly; window=hour; spent-tokens=90; limit-tokens=100",
        ),
    ],
    ids=["dollars", "tokens", "a key's own", "cost protection's"],
)
def test_the_header(account, said):
    assert warning_of(account, HOUR_NS) == said


def test_the_line_in_the_log():
    with capture_logs() as logs:
        log_warning(spent(90, limit_tokens=100), HOUR_NS)
    assert logs == [
        {
            "event": "budget nearly spent",
            "log_level": "warning",
            "budget": "daily",
            "subject": "ann",
            "window": "day",
            "spent_tokens": "90",
            "limit_tokens": "100",
        }
    ]


def test_each_is_told_once_to_the_caller_and_once_to_the_operator():
    config = CONFIG + (
        "[budgets.small]\nlimit_usd = 0.0001\nhard = false\n"
        '[budgets.tokens]\nscope = "key"\nlimit_tokens = 16\nhard = false\nwindow = "hour"\n'
    )

    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock, lambda _: whole("hi", usage=(10, 5)), config)
        heard = []
        with capture_logs() as logs:
            for _ in range(3):
                said = await door.chat(request(stream=False, max_tokens=10))
                heard.append(said.headers.get("x-holdfast-budget-warning", ""))
        assert heard == [
            "tokens; window=hour; spent-tokens=15; limit-tokens=16",
            "small; window=month; spent-usd=0.000120000; limit-usd=0.000100000",
            "",
        ]
        warned = [line["budget"] for line in logs if line["event"] == "budget nearly spent"]
        assert warned == ["tokens", "small"]

    run_virtual(main)
