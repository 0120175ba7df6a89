"""What policies did and how they stand, in /metrics: exact numbers by provider, and no label that callers choose."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.simulation.chat_wire import refuses, request, speaks, stream, whole
from tests.support.metrics import samples
from tests.unit.gateway.door import CONFIG, Door

from holdfast.gateway.policy_metrics import PolicyMetrics, _Grown
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable

    from holdfast.testing.memory_transport import Reply

PLAIN = request(stream=False)
BREAKER = "[breaker]\nfailure_threshold = 2\nmin_requests = 2\nopen_s = 40\njitter = 0\n"
RETRIES = CONFIG.replace(
    "max_retries = 0", "max_retries = 3\nbase_s = 0.01\nbudget_ratio = 0\nbudget_floor_per_s = 0.2"
)


def run(
    main: Callable[[Door], Awaitable[None]], *replies: Reply, config: str = CONFIG, handler: Any = None
) -> None:
    async def there(clock: VirtualClock) -> None:
        await main(await Door.open(clock, handler or replies, config))

    run_virtual(there)


def scraped(door: Door) -> Counter[tuple[str, ...]]:
    return samples(door.metrics.expose().decode())


def a_fails(sent: Any) -> Reply:
    return refuses(500) if sent.origin.host == "a" else whole()


def test_breakers_by_their_state():
    async def main(door: Door) -> None:
        def states(provider: str) -> dict[str, float]:
            seen = scraped(door)
            return {
                state: seen["holdfast_breaker_targets", f"provider={provider}", f"state={state}"]
                for state in ("closed", "open", "half_open")
            }

        for _ in range(5):
            await door.chat(PLAIN)
        assert states("a") == {"closed": 0, "open": 1, "half_open": 0}
        assert states("b") == {"closed": 1, "open": 0, "half_open": 0}
        seen = scraped(door)
        assert seen["holdfast_breaker_opened_total", "provider=a"] == 1
        assert seen["holdfast_breaker_opened_total", "provider=b"] == 0
        assert seen["holdfast_attempts_refused_total", "policy=breaker", "provider=a"] == 3
        await asyncio.sleep(41)
        assert states("a") == {"closed": 0, "open": 0, "half_open": 1}
        await door.chat(PLAIN)
        assert states("a")["open"] == 1
        assert scraped(door)["holdfast_breaker_opened_total", "provider=a"] == 2, "it re-opened"

    run(main, handler=a_fails, config=CONFIG + BREAKER)


def test_places_and_limits_over_a_providers_targets():
    config = (
        CONFIG + "[bulkhead]\nmax_concurrent = 20\n[overall]\nmax_concurrent = 2\nmax_queue = 5\n"
        "[providers.a.adaptive]\nenabled = true\ninitial_limit = 7\n"
    )

    async def main(door: Door) -> None:
        asked = [asyncio.create_task(door.chat(request(model=name))) for name in ("a/m", "a/n", "b/m", "b/m")]
        await asyncio.sleep(1)
        seen = scraped(door)
        assert seen["holdfast_places_in_use", "provider=a"] == 2
        assert (
            seen["holdfast_places_limit", "provider=a"] == seen["holdfast_adaptive_limit", "provider=a"] == 14
        )
        assert seen["holdfast_places_limit", "provider=b"] == 20
        assert ("holdfast_adaptive_limit", "provider=b") not in seen
        assert seen["holdfast_places_in_use", "provider=b"] == 2, (
            "who waits for one of all has one of the target"
        )
        assert (seen[("holdfast_overall_in_use",)], seen[("holdfast_overall_waiting",)]) == (2, 2)
        assert seen[("holdfast_overall_limit",)] == 2
        await asyncio.gather(*asked)
        seen = scraped(door)
        assert seen["holdfast_places_in_use", "provider=a"] == seen[("holdfast_overall_in_use",)] == 0

    run(main, handler=lambda _: speaks(*stream("a"), head_s=2.0), config=config)


def test_who_waits_and_who_is_refused():
    config = CONFIG + "[bulkhead]\nmax_concurrent = 1\nmax_queue = 2\n"

    async def main(door: Door) -> None:
        asked = [asyncio.create_task(door.chat(request(model="a/m"))) for _ in range(5)]
        await asyncio.sleep(1)
        seen = scraped(door)
        assert seen["holdfast_places_waiting", "provider=a"] == 2
        assert seen["holdfast_attempts_refused_total", "policy=bulkhead", "provider=a"] == 2
        await asyncio.gather(*asked)

    run(main, handler=lambda _: speaks(*stream("a"), head_s=2.0), config=config)


def test_an_adaptive_limit_that_is_lowered():
    config = CONFIG + "[adaptive]\nenabled = true\n[breaker]\nenabled = false\n"

    async def main(door: Door) -> None:
        await door.chat(request(stream=False, model="a/m"))
        seen = scraped(door)
        assert seen["holdfast_adaptive_decreases_total", "provider=a"] == 1
        assert seen["holdfast_adaptive_limit", "provider=a"] == 9

    run(main, refuses(503), config=config)


def test_retries_made_and_refused():
    """Two are in the budget's ten seconds; the third isn't, and the request goes to the next target."""

    async def main(door: Door) -> None:
        await door.chat(PLAIN)
        seen = scraped(door)
        assert seen["holdfast_retries_total", "provider=a"] == 2
        assert seen["holdfast_retries_refused_total", "provider=a"] == 1
        assert ("holdfast_retries_total", "provider=b") not in seen, "a fallback is no retry"
        assert seen["holdfast_attempts_total", "outcome=server_failed", "provider=a"] == 3

    run(main, handler=a_fails, config=RETRIES)


def test_hedges_made_and_refused():
    config = CONFIG + "[hedge]\nenabled = true\ndelay_s = 1\nratio = 0.5\nburst = 1\n"

    async def main(door: Door) -> None:
        for _ in range(3):
            await door.chat(PLAIN)
        seen = scraped(door)
        assert seen["holdfast_attempts_total", "outcome=superseded", "provider=a"] == 1
        assert seen["holdfast_hedges_total", "provider=a"] == 1
        assert seen["holdfast_hedges_refused_total", "provider=a"] == 2
        assert ("holdfast_retries_total", "provider=b") not in seen
        told = (await door.ask("GET", "/admin/targets?target=a/m")).json["targets"][0]["hedge"]
        assert told == {"delay_s": 1.0, "requests": 3, "hedges": 1, "refused": 2}

    run(main, handler=lambda sent: whole(head_s=9.0 if sent.origin.host == "a" else 0.0), config=config)


def test_clients_own_retries():
    async def main(door: Door) -> None:
        await door.chat(PLAIN)
        await door.chat(PLAIN, {"x-stainless-retry-count": "1"})
        await door.chat(PLAIN, {"x-stainless-retry-count": "2"})
        await door.chat(PLAIN, {"x-stainless-retry-count": "0"})
        assert scraped(door)["holdfast_client_retries_total", "provider=a"] == 2

    run(main, handler=lambda _: whole())


def test_rates_of_targets_and_what_providers_say_of_themselves():
    said = {
        "x-ratelimit-limit-requests": "6",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60s",
    }
    config = CONFIG + "[providers.b.rate]\nrequests = 1\n"

    async def main(door: Door) -> None:
        await door.chat(PLAIN)
        await door.chat(PLAIN)
        seen = scraped(door)
        assert seen["holdfast_attempts_refused_total", "policy=provider_rate", "provider=a"] == 1
        assert seen["holdfast_attempts_refused_total", "policy=rate", "provider=b"] == 1

    run(main, refuses(429, headers=said), whole(), config=config)


def test_callers_rates_by_key_and_pattern():
    config = (
        CONFIG
        + "".join(
            f'[keys.{name}]\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n'
            for name in ("ann", "bob")
        )
        + '[gateway]\nrate = { requests = 2 }\n[models."scarce*"]\nrate = { requests = 1 }\n'
        + '[routes.all]\ntargets = ["a/{model}"]\nmodels = ["scarce*"]\n'
    )

    async def main(door: Door) -> None:
        for key, model in [("ann", "chat")] * 5 + [("bob", f"scarce-{n}") for n in range(4)]:
            await door.chat(request(stream=False, model=model), {"x-api-key": key})
        seen = scraped(door)
        refused = {key[1:]: count for key, count in seen.items() if key[0] == "holdfast_rate_refused_total"}
        assert refused == {("kind=key", "name=ann"): 3, ("kind=model", "name=scarce*"): 3}
        assert seen["holdfast_refused_total", "reason=rate_exceeded"] == 6

    run(main, handler=lambda _: whole(), config=config)


def test_what_becomes_of_idempotency_keys():
    async def main(door: Door) -> None:
        def results() -> dict[str, float]:
            return {
                key[1].removeprefix("result="): count
                for key, count in scraped(door).items()
                if key[0] == "holdfast_idempotency_total"
            }

        key = {"idempotency-key": "k-1"}
        first = asyncio.create_task(door.chat(PLAIN, key))
        await asyncio.sleep(1)
        assert scraped(door)[("holdfast_idempotency_running",)] == 1
        second = asyncio.create_task(door.chat(PLAIN, key))
        await asyncio.sleep(0)
        other = await door.chat(request(stream=False, prompt="another"), key)
        assert other.status == 422
        await asyncio.gather(first, second)
        await door.settle()
        assert (await door.chat(PLAIN, key)).headers["idempotency-replayed"] == "true"
        assert (await door.chat(request(stream=False, prompt="another"), key)).status == 422
        assert results() == {"ran": 1, "joined": 1, "replayed": 1, "idempotency_conflict": 2}
        assert scraped(door)[("holdfast_idempotency_running",)] == 0
        assert "k-1" not in door.metrics.expose().decode()

    run(main, handler=lambda _: whole(head_s=2.0))


def test_policies_that_routes_share_are_counted_once():
    config = CONFIG + BREAKER + '[routes.own]\ntargets = ["a/m"]\n[routes.own.bulkhead]\nmax_concurrent = 3\n'

    async def main(door: Door) -> None:
        for model in ("a/m", "own", "a/m"):
            await door.chat(request(stream=False, model=model))
        assert len(list(door.app.engine.gate)) == 2
        seen = scraped(door)
        assert seen["holdfast_breaker_targets", "provider=a", "state=open"] == 1
        assert seen["holdfast_breaker_opened_total", "provider=a"] == 1
        assert seen["holdfast_places_limit", "provider=a"] == 2003, "the route's bulkhead is its own"

    run(main, handler=a_fails, config=config)


def test_what_was_counted_stays_when_its_target_is_forgotten():
    async def main(door: Door) -> None:
        house = door.app.engine.gate
        await door.chat(request(stream=False, model="a/m"), {"x-stainless-retry-count": "1"})
        assert scraped(door)["holdfast_client_retries_total", "provider=a"] == 1
        await asyncio.sleep(3600)
        (target,) = door.app.routes.resolve("a/m").targets
        for n in range(5000):
            house.of(replace(target, model=f"invented-{n}"))
        assert "a/m" not in {gate.name for gate in house}, "it was dropped"
        assert scraped(door)["holdfast_client_retries_total", "provider=a"] == 1
        await door.chat(request(stream=False, model="a/m"), {"x-stainless-retry-count": "1"})
        assert scraped(door)["holdfast_client_retries_total", "provider=a"] == 2
        assert "invented" not in door.metrics.expose().decode()

    run(main, handler=lambda _: whole())


counts = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.sampled_from([("x",), ("y",)])), st.integers(0, 5), max_size=6
)


@given(st.lists(counts, max_size=8))
def test_sums_are_those_of_all_that_was_ever_seen(growths):
    """Owners come, grow and go, and one that comes again is another one, which begins at 0."""
    grown, owners, expected = _Grown(), {}, {}
    for growth in growths:
        owners = {owner: owners.get(owner, 0) + more for owner, more in growth.items()}
        for (_, labels), more in growth.items():
            expected[labels] = expected.get(labels, 0) + more
        assert grown.add(dict(owners)) == expected


def test_without_an_engine_every_metric_is_there_without_a_series():
    families = list(PolicyMetrics().collect())
    assert {"holdfast_breaker_targets", "holdfast_attempts_refused", "holdfast_rate_refused"} <= {
        family.name for family in families
    }
    assert [family.name for family in families if family.samples] == []


@pytest.mark.parametrize("name", [family.name for family in PolicyMetrics().collect()])
def test_every_metric_says_what_it_is(name):
    (family,) = [family for family in PolicyMetrics().collect() if family.name == name]
    assert family.documentation.endswith(".")
    assert set(family._labelnames) <= {"provider", "policy", "state", "kind", "name"}
