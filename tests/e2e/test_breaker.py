"""CB2, CB4 over real sockets: a thousand callers at a half-open breaker, and who can open one and who can't."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.load import (
    asked,
    callers,
    ended_by,
    held,
    most_at_once,
    ms_of,
    reasons_of,
    sent_to,
    state_of,
)

from holdfast.chaos import Chaos, ChaosConfig, run_chaos
from holdfast.chaos.timeline import Window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.http import Answer, Client

    from holdfast.resilience.breaker import BreakerSnapshot

PROBES = 3
OPEN_S = 0.3
BREAKER = {
    "failure_threshold": 4,
    "min_requests": 4,
    "success_threshold": PROBES,
    "open_s": OPEN_S,
    "jitter": 0,
    "half_open_s": 30,
}
CALLERS = 1000


@contextmanager
def world(folder: Path, chaos: Chaos, **sections: Any) -> Iterator[Running]:
    """Routes ``m``: one target; ``pair``: it, and then another."""
    sections = {"breaker": BREAKER, "retry": {"max_retries": 0}, **sections}
    routes = {"m": {"targets": ["one/m"]}, "pair": {"targets": ["one/m", "two/spare"]}}
    with run_gateway(document_of(chaos.base_url, folder / "ledger.db", routes=routes, **sections)) as running:
        yield running
        running.no_traceback()


def breaker(gateway: Running, target: str = "one/m") -> BreakerSnapshot:
    snapshot = state_of(gateway, target).breaker
    assert snapshot is not None
    return snapshot


def is_now(gateway: Running, target: str = "one/m") -> str:
    return breaker(gateway, target).state.value


async def ask_often(gateway: Running, count: int, model: str = "m", **headers: str) -> list[Answer]:
    """One after the other."""
    request = sent_to(model, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return [await asked(gateway.port, request) for _ in range(count)]


async def trip(gateway: Running, chaos: Chaos) -> None:
    """Opens the breaker, and forgets how."""
    chaos.script("m", "503")
    assert [answer.status for answer in await ask_often(gateway, 4)] == [502] * 4
    assert is_now(gateway) == "open"
    chaos.reset()


async def half_open(gateway: Running) -> None:
    """Waits out the open time: with nobody asking, it alone changes the state."""
    await asyncio.sleep(breaker(gateway).retry_after_s)
    while is_now(gateway) == "open":  # timers may be early
        await asyncio.sleep(0)


def test_a_thousand_callers_at_a_half_open_breaker(tmp_path: Path) -> None:
    """The provider's clock stands still, so that it keeps the probes for as long as everybody else needs to be told."""
    with run_chaos(ChaosConfig(clock="hand")) as chaos, world(tmp_path, chaos) as gateway:

        async def main() -> tuple[list[Answer], list[Answer], list[Answer]]:
            await trip(gateway, chaos)
            chaos.script("m", "delay=1")
            await half_open(gateway)
            crowd = await callers(gateway.port, sent_to("m"), CALLERS)
            told: asyncio.Queue[Client] = asyncio.Queue()

            async def listen(client: Client) -> None:
                await client.head()
                told.put_nowait(client)

            listeners = [asyncio.create_task(listen(client)) for client in crowd]
            async with asyncio.timeout(20):
                refused = [await (await told.get()).rest() for _ in range(CALLERS - PROBES)]
            late = await ask_often(gateway, 50)
            assert len(chaos.journal()) == PROBES, "no more than that until it is decided"
            chaos.script("m", "ok")
            await asyncio.to_thread(chaos.advance, 1)
            served = [await (await told.get()).rest() for _ in range(PROBES)]
            await asyncio.gather(*listeners)
            assert is_now(gateway) == "closed"
            for client in crowd:
                client.leave()
            after = await asyncio.gather(*(asked(gateway.port, sent_to("m")) for _ in range(200)))
            return refused, late, [*served, *after]

        refused, late, served = asyncio.run(main())
        entries = chaos.journal()
        assert len(refused) == CALLERS - PROBES
        for answer in refused + late:
            assert answer.status == 503
            assert reasons_of(answer) == ["breaker_open"]
            assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert ms_of(late) < 50
        assert [answer.status for answer in served] == [200] * (PROBES + 200)
        assert len(entries) == PROBES + 200
        assert most_at_once(entries[:PROBES]) == PROBES, (
            "they were there together: it is no accident that it was so few"
        )


def test_probes_whose_callers_leave_give_their_place_to_others(tmp_path: Path) -> None:
    with run_chaos(ChaosConfig()) as chaos, world(tmp_path, chaos) as gateway:

        async def main() -> None:
            await trip(gateway, chaos)
            chaos.script("m", "hang")
            await half_open(gateway)
            for rounds in (1, 2):
                async with held(gateway.port, [sent_to("m")] * PROBES):
                    await asyncio.to_thread(chaos.wait_for_requests, PROBES * rounds)
                    assert (await ask_often(gateway, 1))[0].status == 503
                await asyncio.to_thread(chaos.wait_for_requests, PROBES * rounds, ended=True)
                await asyncio.to_thread(ended_by, gateway, 4 + (PROBES + 1) * rounds)
                assert (is_now(gateway), breaker(gateway).probes) == ("half_open", 0)
            chaos.script("m", "ok")
            assert [answer.status for answer in await ask_often(gateway, PROBES + 5)] == [200] * (PROBES + 5)
            assert is_now(gateway) == "closed"

        asyncio.run(main())


def test_one_failed_probe_opens_it_again_for_longer(tmp_path: Path) -> None:
    with run_chaos(ChaosConfig()) as chaos, world(tmp_path, chaos) as gateway:

        async def main() -> None:
            await trip(gateway, chaos)
            await half_open(gateway)
            first, second = await ask_often(gateway, 2)
            assert (first.status, first.attempts) == (502, 1)
            assert (second.status, second.attempts) == (503, 0)
            assert int(second.headers["retry-after-ms"]) > OPEN_S * 1e3
            assert len(chaos.journal()) == 1

        asyncio.run(main())


def test_a_stream_that_begins_heals_it_long_before_it_ends(tmp_path: Path) -> None:
    with run_chaos(ChaosConfig(clock="hand")) as chaos, world(tmp_path, chaos) as gateway:

        async def main() -> None:
            await trip(gateway, chaos)
            chaos.script("m", "tokens=5 stall=2")
            await half_open(gateway)
            async with held(gateway.port, [sent_to("m", stream=True)] * PROBES) as streams:
                for stream in streams:
                    await stream.head()
                    await stream.until(b":1 ")
                assert is_now(gateway) == "closed"
            await asyncio.to_thread(chaos.wait_for_requests, PROBES, ended=True)

        asyncio.run(main())


def test_behind_an_open_breaker_the_next_target_serves_at_once(tmp_path: Path) -> None:
    with run_chaos(ChaosConfig()) as chaos, world(tmp_path, chaos) as gateway:

        async def main() -> None:
            await trip(gateway, chaos)
            answers = await ask_often(gateway, 20, "pair")
            assert {answer.status for answer in answers} == {200}
            assert {answer.headers["x-holdfast-provider"] for answer in answers} == {"two"}
            assert {answer.attempts for answer in answers} == {1}
            assert {entry.model for entry in chaos.journal()} == {"spare"}
            assert ms_of(answers) < 50

        asyncio.run(main())


def test_where_all_are_open_the_soonest_is_told(tmp_path: Path) -> None:
    providers = {
        "one": {"breaker": {"open_s": 20, "max_open_s": 20}},
        "two": {"breaker": {"open_s": 5, "max_open_s": 5}},
    }
    with run_chaos(ChaosConfig(default="503")) as chaos:
        document = document_of(
            chaos.base_url,
            tmp_path / "ledger.db",
            breaker=BREAKER,
            retry={"max_retries": 0},
            routes={"pair": {"targets": ["one/m", "two/spare"]}},
        )
        for name, own in providers.items():
            document["providers"][name] |= own
        with run_gateway(document) as gateway:
            asyncio.run(ask_often(gateway, 4, "pair"))
            (answer,) = asyncio.run(ask_often(gateway, 1, "pair"))
        assert answer.status == 503
        assert reasons_of(answer) == ["breaker_open"] * 2
        assert 3 <= int(answer.headers["retry-after"]) <= 5
        assert answer.headers["x-should-retry"] == "false"
        assert len(chaos.journal()) == 8


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
def test_what_is_no_fault_of_its_own_never_opens_it(tmp_path: Path, status: int) -> None:
    with run_chaos(ChaosConfig(default=str(status))) as chaos, world(tmp_path, chaos) as gateway:
        answers = asyncio.run(ask_often(gateway, 20))
        assert {answer.attempts for answer in answers} == {1}
        assert is_now(gateway) == "closed"
        assert len(chaos.journal()) == 20


SILENT = {"answer": {"default": "hang"}, "connect": {"timeline": (Window(door="silent"),)}}


@pytest.mark.parametrize("header", ["x-stainless-timeout", "x-request-timeout", "x-stainless-read-timeout"])
@pytest.mark.parametrize("where", SILENT)
def test_a_callers_own_tiny_patience_never_opens_it(tmp_path: Path, where: str, header: str) -> None:
    """Wherever the provider is silent: in the answer, or already when it is called."""
    with run_chaos(ChaosConfig(**SILENT[where])) as chaos, world(tmp_path, chaos) as gateway:
        request = sent_to("m", headers={header: "0.25"})

        async def main() -> list[Answer]:
            return await asyncio.gather(*(asked(gateway.port, request) for _ in range(12)))

        assert {answer.status for answer in asyncio.run(main())} == {504}
        assert (is_now(gateway), breaker(gateway).failures) == ("closed", 0)
        assert (len(chaos.journal()) > BREAKER["min_requests"]) == (where == "answer")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_callers_who_leave_never_open_it(tmp_path: Path, stream: bool) -> None:
    with (
        run_chaos(ChaosConfig(default="stall=2" if stream else "hang")) as chaos,
        world(tmp_path, chaos) as gateway,
    ):

        async def main() -> None:
            async with held(gateway.port, [sent_to("m", stream=stream)] * 20) as clients:
                await asyncio.to_thread(chaos.wait_for_requests, 20)
                for client in clients if stream else []:
                    await client.head()
            await asyncio.to_thread(ended_by, gateway, 20)

        asyncio.run(main())
        state = state_of(gateway, "one/m")
        assert state.breaker is not None
        assert state.bulkhead is not None
        assert (state.breaker.state.value, state.breaker.failures) == ("closed", 0)
        assert state.bulkhead.in_use == 0


def test_a_target_that_really_is_too_slow_opens_it(tmp_path: Path) -> None:
    """The other side of patience: our own limit counts, whoever asks."""
    with (
        run_chaos(ChaosConfig(default="hang")) as chaos,
        world(tmp_path, chaos, timeouts={"answer_s": 0.05}) as gateway,
    ):
        answers = asyncio.run(ask_often(gateway, 5))
        assert [answer.status for answer in answers] == [504] * 4 + [503]
        assert is_now(gateway) == "open"
