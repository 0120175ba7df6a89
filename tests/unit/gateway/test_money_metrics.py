"""Budgets, reservations, sessions and the cost breaker in /metrics: exact numbers, and no label that callers choose."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.simulation.chat_wire import request, whole
from tests.support.metrics import samples
from tests.unit.gateway.door import CONFIG, Door
from tests.unit.gateway.test_admin_money import MONEY, PLAIN

from holdfast.gateway.money_metrics import MoneyMetrics, share_of
from holdfast.money.account import Account
from holdfast.money.rules import BudgetRule
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable

NAMES = ("total", "each-key", "projects", "cost_protection.session", "cost_protection.hourly")
BUDGETS = {f"budget={name}" for name in NAMES}
LABELS = {"budget", "reason", "state"}


def run(main: Callable[[Door], Awaitable[None]], config: str = MONEY, **more: Any) -> None:
    async def there(clock: VirtualClock) -> None:
        handler = more.get("handler", lambda _: whole("hi", usage=(10, 5)))
        await main(await Door.open(clock, handler, CONFIG + config))

    run_virtual(there)


def scraped(door: Door) -> Counter[tuple[str, ...]]:
    return samples(door.metrics.expose().decode())


def of(door: Door, name: str) -> dict[str, float]:
    """One metric's series by its label."""
    return {key[1]: value for key, value in scraped(door).items() if key[0] == name}


def test_every_budget_of_the_file_is_there_before_anything_is_spent():
    async def main(door: Door) -> None:
        for name in ("holdfast_budget_used_ratio", "holdfast_budget_subjects", "holdfast_budget_refused_total",
                     "holdfast_budget_warnings_total"):  # fmt: skip
            assert of(door, name) == dict.fromkeys(BUDGETS, 0)

    run(main)


def test_the_fullest_subject_shows():
    async def main(door: Door) -> None:
        for project, times in (("north-1", 1), ("north-2", 3), ("north-3", 2)):
            for _ in range(times):
                await door.chat(PLAIN, {"x-holdfast-tags": f"project={project}"})
        assert of(door, "holdfast_budget_used_ratio") == {
            "budget=total": pytest.approx(6 * 0.00006 / 0.01),
            "budget=each-key": pytest.approx(6 * 15 / 100_000),
            "budget=projects": pytest.approx(3 * 0.00006 / 0.5),
            "budget=cost_protection.session": 0,
            "budget=cost_protection.hourly": pytest.approx(6 * 0.00006 / 50),
        }
        assert of(door, "holdfast_budget_subjects")["budget=projects"] == 3

    run(main)


def test_what_is_set_aside_counts_while_it_is():
    async def main(door: Door) -> None:
        running = [asyncio.create_task(door.chat(PLAIN)) for _ in range(3)]
        await asyncio.sleep(1)
        assert scraped(door)[("holdfast_reservations_open",)] == 3
        assert of(door, "holdfast_budget_used_ratio")["budget=total"] > 3 * 0.0012 / 0.01
        await asyncio.gather(*running)
        assert scraped(door)[("holdfast_reservations_open",)] == 0
        assert of(door, "holdfast_budget_used_ratio")["budget=total"] == pytest.approx(0.018)

    run(main, handler=lambda _: whole("hi", usage=(10, 5), head_s=5.0))


def test_refusals_by_reason_and_budget():
    async def main(door: Door) -> None:
        session = {"x-holdfast-session": "s-1"}
        await door.chat(PLAIN, session)
        for _ in range(2):
            assert (await door.chat(request(stream=False, max_tokens=10_000))).status == 402
        assert (await door.chat(request(stream=False, max_tokens=600), session)).status == 402
        await door.ask("DELETE", "/admin/sessions/local/s-1")
        assert (await door.chat(PLAIN, session)).status == 410
        assert of(door, "holdfast_money_refused_total") == {
            "reason=budget_exceeded": 3,
            "reason=session_ended": 1,
        }
        refused = of(door, "holdfast_budget_refused_total")
        assert {name: count for name, count in refused.items() if count} == {
            "budget=total": 2,
            "budget=cost_protection.session": 1,
        }
        assert of(door, "holdfast_refused_total") == {"reason=budget_exceeded": 3, "reason=session_ended": 1}

    run(main)


def test_callers_warned_of_a_budget():
    async def main(door: Door) -> None:
        for _ in range(3):
            await door.chat(PLAIN)
        assert of(door, "holdfast_budget_warnings_total") == {"budget=small": 1}

    run(main, "[budgets.small]\nlimit_usd = 0.0001\nhard = false\n")


def test_a_bill_above_its_bound_is_counted():
    async def main(door: Door) -> None:
        await door.chat(PLAIN)
        assert scraped(door)[("holdfast_budget_overruns_total",)] == 1

    run(main, handler=lambda _: whole("hi", usage=(10, 1_000)))


def test_keys_own_budgets_are_one_series():
    async def main(door: Door) -> None:
        body = b'{"name":"ops","admin":true}'
        ops = (await door.ask("POST", "/admin/keys", body)).json["key"]
        for name in ("ann", "bob"):
            body = b'{"name":"%s","budgets":[{"window":"day","limit_usd":"0.01"}]}' % name.encode()
            headers = {"authorization": f"Bearer {ops}"}
            key = (await door.ask("POST", "/admin/keys", body, headers)).json["key"]
            for tokens in (10, 10_000):
                await door.chat(request(stream=False, max_tokens=tokens), {"authorization": f"Bearer {key}"})
        assert of(door, "holdfast_budget_subjects") == {"budget=(of keys)": 2}
        assert of(door, "holdfast_budget_refused_total") == {"budget=(of keys)": 2}
        assert of(door, "holdfast_budget_used_ratio") == {"budget=(of keys)": pytest.approx(0.006)}

    run(main, "")


def test_sessions_as_they_come_and_go():
    async def main(door: Door) -> None:
        for name in ("a", "b", "c"):
            await door.chat(PLAIN, {"x-holdfast-session": name})
        await door.ask("DELETE", "/admin/sessions/local/a")
        await door.chat(PLAIN, {"x-holdfast-session": "a"})
        seen = scraped(door)
        assert seen[("holdfast_sessions_active",)] == 2
        assert seen[("holdfast_sessions_started_total",)] == 3
        assert seen[("holdfast_sessions_refused_total",)] == 1
        assert seen[("holdfast_sessions_warned_total",)] == 0
        await asyncio.sleep(1_801)
        assert scraped(door)[("holdfast_sessions_active",)] == 0
        assert of(door, "holdfast_sessions_over_total") == {
            "state=ended": 1,
            "state=expired": 2,
            "state=exhausted": 0,
        }

    run(main)


def test_the_cost_breakers_state():
    async def main(door: Door) -> None:
        assert of(door, "holdfast_cost_breaker") == {"state=closed": 1, "state=open": 0, "state=half_open": 0}
        await door.chat(PLAIN)
        assert of(door, "holdfast_cost_breaker") == {"state=closed": 0, "state=open": 1, "state=half_open": 0}
        seen = scraped(door)
        assert seen[("holdfast_cost_breaker_opened_total",)] == 1
        assert seen[("holdfast_cost_breaker_spent_usd",)] == pytest.approx(0.00322)
        assert seen[("holdfast_cost_breaker_threshold_usd",)] == pytest.approx(0.003)
        assert (await door.chat(PLAIN)).status == 503
        assert of(door, "holdfast_money_refused_total") == {"reason=cost_breaker_open": 1}

    run(main, MONEY.replace("= 0.02", "= 0.003"), handler=lambda _: whole("hi", usage=(10, 400)))


def test_the_breakers_sum_is_no_keys_budget():
    async def main(door: Door) -> None:
        assert (await door.chat(request(stream=False, max_tokens=1_000))).status == 503
        refused = of(door, "holdfast_budget_refused_total")
        assert {name: count for name, count in refused.items() if count} == {"budget=cost_breaker": 1}

    run(main, MONEY.replace("= 0.02", "= 0.003"))


def test_nothing_that_a_caller_chooses_is_a_label():
    async def main(door: Door) -> None:
        await door.chat(PLAIN, {"x-holdfast-session": "s", "x-holdfast-tags": "project=north-x"})
        series = len(scraped(door))
        for n in range(500):
            headers = {
                "x-holdfast-session": f"chosen-{n}",
                "x-holdfast-tags": f"project=north-chosen-{n},tag-chosen-{n}=x",
                "x-request-id": f"chosen-{n}",
            }
            await door.chat(request(stream=False, max_tokens=10, model=f"a/m-chosen-{n}"), headers)
            await door.chat(PLAIN, headers)
        text = door.metrics.expose().decode()
        assert "chosen" not in text
        assert "local" not in text
        fresh = len(scraped(door)) - series
        assert fresh <= 24, "a route of its own and one reason of refusals, and not one more for each"

    run(main, MONEY.replace("0.01\n", "9\n").replace("0.02", "9"))


def test_without_a_treasury_every_metric_is_there_without_a_series():
    assert [family.name for family in MoneyMetrics().collect() if family.samples] == []


@pytest.mark.parametrize("name", [family.name for family in MoneyMetrics().collect()])
def test_every_metric_says_what_it_is(name):
    (family,) = [family for family in MoneyMetrics().collect() if family.name == name]
    assert family.documentation.endswith(".")
    assert set(getattr(family, "_labelnames", ())) <= LABELS


@pytest.mark.parametrize(
    ("limit", "spent", "reserved", "share"), [(4, 1, 2, 0.75), (4, 5, 0, 1.25), (0, 0, 0, 0), (0, 1, 0, 1)]
)
def test_the_share_of_a_budget(limit, spent, reserved, share):
    account = Account(BudgetRule(name="b", limit_tokens=limit, window="forever"), "")
    account.charge(spent, 0)
    account.reserved = reserved
    assert share_of(account, 0) == share
