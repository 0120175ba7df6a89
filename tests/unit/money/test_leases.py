"""BU1: blocks are asked for together, called back, given back, and gone when their owner is."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.replicas import ANN, all_in_blocks, replicas_of

from holdfast.errors import LedgerUnavailable
from holdfast.ledger.blocks import Want, granted
from holdfast.ledger.entry import Charge
from holdfast.money.budgets import Overdrawn
from holdfast.money.leases import IDLE_S, PATIENCE_S
from holdfast.money.rules import BudgetRule, Subject
from holdfast.testing.virtual_time import run_virtual

LIMIT = 1_000
DAY = BudgetRule(name="day", limit_nano=LIMIT, window="day")
TOKENS = BudgetRule(name="tokens", scope="key", limit_tokens=500, window="day")
EVER = BudgetRule(name="ever", limit_nano=LIMIT, window="forever")
KEY = "day:usd:day:"


def run(main):
    return run_virtual(main)


@pytest.mark.parametrize(
    ("least", "needed", "wish", "room", "owners", "amount"),
    [
        (10, 10, 10, 9, 1, 0),
        (10, 10, 10, 10, 1, 10),
        (10, 50, 50, 49, 1, 49),
        (10, 50, 100, 1_000, 1, 100),
        (10, 50, 900, 1_000, 1, 500),
        (10, 50, 900, 1_000, 4, 125),
        (10, 50, 900, 300, 4, 50),
        (10, 10, 10, -5, 1, 0),
    ],
)
def test_how_much_a_lease_gives(least, needed, wish, room, owners, amount):
    want = Want(account="a", limit=1, least=least, needed=needed, wish=wish)
    assert granted(want, room=room, owners=owners) == amount


class TestAsking:
    def test_what_is_needed_first_then_ever_more(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            blocks = []
            for _ in range(6):
                await one.spend(10, 10)
                blocks.append(books.blocked(KEY))
            assert blocks == [0, 10, 0, 30, 20, 10], "10, then twice that, then twice that"
            assert one.authority.calls == 3

        run(main)

    def test_no_more_than_a_fair_share_of_what_is_left(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            for _ in range(40):
                await one.spend(10, 10)
                left = LIMIT - books.spent(KEY)
                assert books.blocked(KEY) <= left // 4 + 20, (
                    "half of an even share, and what was left of the last"
                )
            await asyncio.sleep(3 * IDLE_S)

        run(main)

    def test_all_who_wait_share_one_call(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            spenders = [one.spender() for _ in range(50)]
            await asyncio.gather(*(each.reserve(20) for each in spenders))
            assert one.authority.calls == 1
            assert all_in_blocks(books, KEY) == LIMIT
            for each in spenders:
                each.end()

        run(main)

    def test_some_of_those_who_wait_get_what_there_is(self):
        async def main(clock):
            _, (one, _) = replicas_of(clock, DAY)
            spenders = [one.spender() for _ in range(60)]
            told = await asyncio.gather(*(each.reserve(20) for each in spenders), return_exceptions=True)
            assert sum(isinstance(each, Overdrawn) for each in told) == 10
            assert sum(each is None for each in told) == 50

        run(main)

    def test_who_is_cancelled_as_the_answer_comes_is_cancelled(self):
        """Found by the crash loop on PostgreSQL: in that very turn asyncio.wait_for swallows it, and a hedge that was called
        off went out."""

        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            spender = one.spender()
            asking = asyncio.create_task(spender.reserve(10))
            await asyncio.sleep(0)
            one.leases._round.answer.add_done_callback(lambda _: asking.cancel())
            with pytest.raises(asyncio.CancelledError):
                await asking
            spender.end()
            await asyncio.sleep(3 * IDLE_S)
            assert all_in_blocks(books, KEY) == 0

        run(main)

    def test_the_last_digits_of_a_patience_are_not_waited_for(self):
        """Found by the invariants: 1e-16 s never pass, where time is counted in seconds."""

        async def main(clock):
            _, (one, other) = replicas_of(clock, DAY)
            held = other.spender()
            await held.reserve(LIMIT)
            await asyncio.sleep(1.0)
            spender = one.spender()
            spender.patience.left_s = 1.1e-16
            async with asyncio.timeout(5):
                with pytest.raises(Overdrawn):
                    await spender.reserve(10)
            spender.end()
            held.end()

        run(main)

    def test_several_accounts_in_one_call_and_all_or_none(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY, TOKENS)
            await one.spender().reserve(300)
            assert one.authority.calls == 1
            dollars, tokens = one.budgets.accounts(ANN)
            with pytest.raises(Overdrawn) as refused:
                await one.spender().reserve(300)
            assert refused.value.account is tokens
            assert (dollars.reserved, tokens.reserved) == (300, 300)
            assert dollars.free == 300, "asked for, and not taken"
            await asyncio.sleep(3 * IDLE_S)
            assert books.blocked(KEY) == 300, "so it went back"

        run(main)

    def test_a_refusal_has_the_numbers_of_all(self):
        async def main(clock):
            _, (one, other) = replicas_of(clock, DAY)
            await one.spend(100, 100)
            held = other.spender()
            await held.reserve(700)
            mine = one.spender()
            await mine.reserve(150)
            with pytest.raises(Overdrawn) as refused:
                await one.spender().reserve(250)
            error = refused.value
            assert (error.needed, error.spent, error.reserved) == (250, 100, 850)
            assert error.frees_ns is None, "the 100 that are spent wouldn't be enough"
            held.end()

        run(main)

    def test_a_refusal_says_when_enough_is_free_again(self):
        async def main(clock):
            books, (one, other) = replicas_of(clock, DAY)
            await other.spend(900, 900)
            with pytest.raises(Overdrawn) as refused:
                await one.spender().reserve(150)
            assert refused.value.frees_ns == next(iter(books.spend.values())).until_ns

        run(main)

    def test_what_nobody_can_give_back_is_refused_at_once(self):
        async def main(clock):
            _, (one, other) = replicas_of(clock, DAY)
            await other.spend(600, 600)
            held = other.spender()
            await held.reserve(100)
            began = clock.monotonic()
            with pytest.raises(Overdrawn):
                await one.spender().reserve(401)
            assert clock.monotonic() - began < 0.01
            held.end()

        run(main)

    def test_who_leaves_while_it_waits_takes_nothing(self):
        async def main(clock):
            books, (one, other) = replicas_of(clock, DAY)
            held = other.spender()
            await held.reserve(900)
            waits = asyncio.create_task(one.spender().reserve(500))
            await asyncio.sleep(PATIENCE_S / 2)
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            held.end()
            await asyncio.sleep(3 * IDLE_S)
            (account,) = one.budgets
            assert (account.reserved, account.free, account.awaited) == (0, 0, False)
            assert books.blocked(KEY) == 0

        run(main)

    def test_who_leaves_while_it_is_asked_leaves_the_grant_to_the_others(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY, latency_s=0.1)
            gone = asyncio.create_task(one.spender().reserve(500))
            stays = asyncio.create_task(one.spender().reserve(500))
            await asyncio.sleep(0.05)
            gone.cancel()
            await stays
            (account,) = one.budgets
            assert (account.reserved, account.free) == (500, 500)
            assert books.blocked(KEY) == 1_000

        run(main)


class TestOthers:
    def test_who_is_called_gives_back_what_is_free(self):
        async def main(clock):
            books, (one, other) = replicas_of(clock, DAY)
            for _ in range(5):
                await other.spend(100, 10)
            assert books.blocked(KEY) == 250
            began = clock.monotonic()
            await one.spender().reserve(900)
            assert clock.monotonic() - began < PATIENCE_S / 4
            assert all_in_blocks(books, KEY) <= LIMIT

        run(main)

    def test_what_gets_free_while_it_is_awaited_goes_back_too(self):
        async def main(clock):
            _, (one, other) = replicas_of(clock, DAY)
            held = other.spender()
            await held.reserve(900)
            waits = asyncio.create_task(one.spender().reserve(500))
            await asyncio.sleep(0.1)
            assert not waits.done()
            held.end()
            await waits
            assert clock.monotonic() < 0.15, "with the next try: it was on its way at once"

        run(main)

    def test_patience_ends(self):
        async def main(clock):
            _, (one, other) = replicas_of(clock, DAY)
            held = other.spender()
            await held.reserve(900)
            began = clock.monotonic()
            spender = one.spender()
            async with asyncio.timeout(60):
                with pytest.raises(Overdrawn):
                    await spender.reserve(500)
            assert PATIENCE_S <= clock.monotonic() - began < PATIENCE_S + 0.1
            again = clock.monotonic()
            with pytest.raises(Overdrawn):
                await spender.reserve(500)
            assert clock.monotonic() - again < 0.01, "a request waits that long in all"
            held.end()

        run(main)

    def test_what_gets_free_here_is_for_who_waits_here(self):
        async def main(clock):
            _, (one, other) = replicas_of(clock, DAY)
            theirs, mine = other.spender(), one.spender()
            await theirs.reserve(400)
            await mine.reserve(600)
            waits = asyncio.create_task(one.spender().reserve(400))  # the other's 400 might do
            await asyncio.sleep(PATIENCE_S / 3)
            mine.end()
            began = clock.monotonic()
            await waits
            assert clock.monotonic() == began

        run(main)

    def test_nobody_gives_back_for_ever_what_was_once_called_for(self):
        async def main(clock):
            _, (one, other) = replicas_of(clock, DAY)
            held = other.spender()
            await held.reserve(900)
            with pytest.raises(Overdrawn):
                await one.spender().reserve(500)
            await asyncio.sleep(2 * PATIENCE_S)
            held.end()
            calls = other.authority.calls
            for _ in range(10):
                await other.spend(50, 10)
            assert other.authority.calls - calls <= 1

        run(main)


class TestGivingBack:
    def test_what_is_idle_goes_back_and_then_nothing_is_done(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            await one.spend(100, 10)
            assert books.blocked(KEY) == 90
            await asyncio.sleep(3 * IDLE_S)
            assert books.blocks[KEY] == {}
            assert one.leases.leased == 0
            calls = one.authority.calls
            await asyncio.sleep(100)
            assert one.authority.calls == calls

        run(main)

    def test_what_is_used_stays(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            held = one.spender()
            await held.reserve(100)
            for _ in range(20):
                await asyncio.sleep(IDLE_S / 2)
                await one.spend(20, 1)
            assert one.authority.calls <= 12, "one lease or so; the rest are news"
            held.end()
            assert books.blocked(KEY) >= 100

        run(main)

    def test_what_a_request_runs_on_stays(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            held = one.spender()
            await held.reserve(100)
            await asyncio.sleep(10 * IDLE_S)
            assert books.blocked(KEY) == 100
            held.end()

        run(main)

    def test_goes_back_only_once_the_ends_are_durable(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            durable = asyncio.Event()
            one.leases._flush = durable.wait
            await one.spend(100, 10)
            one.leases.called(KEY)
            await asyncio.sleep(1)
            (account,) = one.budgets
            assert (books.blocked(KEY), account.free) == (90, 0), "nobody's, until then"
            durable.set()
            await asyncio.sleep(0.1)
            assert books.blocked(KEY) == 0

        run(main)

    def test_what_cannot_go_back_is_free_again(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)

            async def refused():
                raise LedgerUnavailable("gone")

            await one.spend(100, 10)
            one.leases._flush = refused
            one.leases.called(KEY)
            await asyncio.sleep(0.1)
            (account,) = one.budgets
            assert (books.blocked(KEY), account.free) == (90, 90)

        run(main)

    def test_everything_goes_back_at_the_end(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY, TOKENS)
            await one.spend(100, 10)
            await one.leases.aclose()
            assert books.blocked(KEY) == 0
            assert books.blocks[KEY] == {}
            with pytest.raises(LedgerUnavailable):
                await one.spender().reserve(5)

        run(main)

    def test_a_lease_that_comes_between_keeps_its_own(self):
        """While the whole of an idle block is on its way, somebody begins."""

        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY, latency_s=0.05)
            await one.spend(100, 10)
            durable = asyncio.Event()
            one.leases._flush = durable.wait
            await asyncio.sleep(2.5 * IDLE_S)  # its idle block waits to go
            asking = asyncio.create_task(one.spender().reserve(40))
            await asyncio.sleep(0.01)
            durable.set()
            await asking
            (account,) = one.budgets
            await asyncio.sleep(0.5)
            assert books.blocked(KEY) == account.free + account.reserved

        run(main)

    def test_an_idle_block_may_be_on_its_way_twice(self):
        """The database is slow: the first return waits for it when the next look comes."""

        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            durable = [asyncio.Event(), asyncio.Event()]
            flushed = iter(durable)

            async def flush():
                await next(flushed).wait()

            await one.spend(100, 100)
            one.leases._flush = flush
            await asyncio.sleep(3.5 * IDLE_S)
            for each in durable:
                each.set()
                await asyncio.sleep(0.1)
            assert one.leases.leased == 0
            one.leases._flush = one.ledger.flush
            await one.spend(100, 50)
            assert books.blocked(KEY) == 50

        run(main)

    def test_other_limits_are_asked_for_anew(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            await one.spend(100, 10)
            one.budgets.apply([BudgetRule(name="day", limit_nano=50, window="day")])
            await asyncio.sleep(0.1)
            assert books.blocked(KEY) == 0
            with pytest.raises(Overdrawn):
                await one.spender().reserve(45)

        run(main)


class TestLost:
    def test_within_the_block_it_goes_on_and_past_it_is_refused(self):
        async def main(clock):
            _, (one, _) = replicas_of(clock, DAY)
            await one.spend(100, 0)
            one.authority.lost = "the database is gone"
            await one.spender().reserve(60)
            with pytest.raises(LedgerUnavailable, match="the database is gone"):
                await one.spender().reserve(60)

        run(main)

    def test_who_is_not_answered_is_refused(self):
        async def main(clock):
            _, (one, _) = replicas_of(clock, DAY, latency_s=60)
            began = clock.monotonic()
            with pytest.raises(LedgerUnavailable, match="within 2 s"):
                await one.spender().reserve(60)
            assert clock.monotonic() - began == pytest.approx(2)

        run(main)

    def test_an_answer_that_got_lost_is_not_counted_on_and_goes_back(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            lease = one.authority.lease

            async def lost(wants):
                await lease(wants)
                raise LedgerUnavailable("the connection was lost")

            one.authority.lease = lost
            with pytest.raises(LedgerUnavailable):
                await one.spender().reserve(60)
            (account,) = one.budgets
            assert account.free == 0
            assert books.blocked(KEY) == 60
            one.authority.lease = lease
            account.holds = 0
            await asyncio.sleep(3 * IDLE_S)
            assert books.blocks[KEY] == {}, "with the whole of it"

        run(main)

    def test_a_defect_is_told_to_who_waits(self):
        async def main(clock):
            _, (one, _) = replicas_of(clock, DAY)

            async def broken(wants):
                raise ValueError("a slip")

            one.authority.lease = broken
            with pytest.raises(LedgerUnavailable, match="a slip"):
                await one.spender().reserve(60)

        run(main)


class TestFenced:
    def test_every_block_is_gone_and_the_bounds_are_charged(self):
        async def main(clock):
            books, (one, other) = replicas_of(clock, DAY)
            runs = one.spender()
            await runs.reserve(200)
            await runs.begin()
            await runs.cover(200)
            await one.spend(300, 10)
            one.ledger.fence()
            (account,) = one.budgets
            assert (account.free, one.leases.epoch) == (0, 1)
            assert (books.spent(KEY), books.blocked(KEY)) == (210, 0)
            await other.spend(790, 790)
            runs.settle(150)
            runs.end()
            assert books.spent(KEY) == 10 + 150 + 790
            assert books.blocked(KEY) == 0
            assert account.reserved == 0

        run(main)

    def test_a_late_end_takes_nothing_off_the_next_owners_block(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            runs = one.spender()
            await runs.reserve(200)
            await runs.begin()
            await runs.cover(200)
            runs.settle(150)
            one.ledger.fence()
            await one.spend(100, 0)
            (account,) = one.budgets
            before = books.blocked(KEY)
            assert before == account.free > 0
            runs.end()
            assert books.blocked(KEY) == before == account.free
            assert books.spent(KEY) == 150

        run(main)

    def test_an_answer_for_an_earlier_life_is_no_block(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            lease = one.authority.lease

            async def fenced(wants):
                grants = await lease(wants)
                one.ledger.fence()
                return grants

            one.authority.lease = fenced
            with pytest.raises(LedgerUnavailable, match="taken for dead"):
                await one.spender().reserve(60)
            (account,) = one.budgets
            assert (account.free, books.blocked(KEY)) == (0, 0)

        run(main)

    def test_what_was_on_its_way_back_is_no_part_of_the_next_block(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            durable = asyncio.Event()
            await one.spend(100, 10)
            one.leases._flush = durable.wait
            one.leases.called(KEY)
            await asyncio.sleep(PATIENCE_S + 0.1)
            one.ledger.fence()
            await one.spend(100, 0)
            durable.set()
            await asyncio.sleep(0.1)
            (account,) = one.budgets
            assert books.blocked(KEY) == account.free == 100

        run(main)

    def test_who_reserved_before_and_is_written_after_asks_again(self):
        async def main(clock):
            books, (one, _) = replicas_of(clock, DAY)
            runs = one.spender()
            await runs.reserve(200)
            one.ledger.fence()
            await runs.begin()
            await runs.cover(200)
            assert books.blocked(KEY) == 200
            runs.settle(120)
            runs.end()
            (account,) = one.budgets
            assert books.blocked(KEY) == account.free == 80
            assert books.spent(KEY) == 120

        run(main)


class TestNews:
    def test_what_others_spent_is_known_soon_after_something_is_spent_here(self):
        async def main(clock):
            soft = BudgetRule(name="day", limit_nano=LIMIT, window="day", hard=False)
            _, (one, other) = replicas_of(clock, soft)
            await other.spend(700, 700)
            await one.spend(150, 150)
            (account,) = one.budgets
            assert not account.warns(clock.wall_ns())
            await asyncio.sleep(1.5 * IDLE_S)
            assert account.spent(clock.wall_ns()) == 850
            assert account.warns(clock.wall_ns())

        run(main)

    def test_is_asked_at_most_once_a_second(self):
        async def main(clock):
            _, (one, other) = replicas_of(clock, EVER)
            await other.spend(100, 100)
            (account,) = one.budgets.accounts(ANN)
            for _ in range(10):
                await one.leases.learn([account])
            assert one.authority.calls == 1
            assert account.spent(clock.wall_ns()) == 100

        run(main)

    def test_of_what_nobody_here_uses_less_is_believed_too(self):
        async def main(clock):
            books, (one, other) = replicas_of(clock, EVER)
            await other.spend(100, 100)
            (account,) = one.budgets.accounts(ANN)
            await one.leases.learn([account])
            books.forget(account.key)
            await asyncio.sleep(2)
            await one.leases.learn([account])
            assert account.spent(clock.wall_ns()) == 0

        run(main)

    def test_a_reset_is_told_to_the_others(self):
        async def main(clock):
            books, (one, other) = replicas_of(clock, EVER)
            books.charge(Charge("x", 0, None, 5))
            told = []
            other.leases.on_forgotten = told.append
            one.leases.on_forgotten = lambda account: told.append(f"own {account}")
            await one.leases.forget("x")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert told == ["x"]
            assert books.spent("x") == 0

        run(main)


def test_two_hundred_at_once_never_pass_it():
    async def main(clock):
        books, replicas = replicas_of(clock, DAY, count=3)
        worst = 0

        async def one(number):
            nonlocal worst
            replica = replicas[number % 3]
            await asyncio.sleep(number % 7 * 0.01)
            try:
                spender = replica.spender(Subject(key=f"k{number % 5}", model="m"))
                await spender.reserve(30)
                await spender.begin()
                await spender.cover(30)
                await asyncio.sleep(0.05)
                spender.settle(number % 30)
            except Overdrawn:
                return 0
            finally:
                spender.end()
                worst = max(worst, all_in_blocks(books, KEY))
            return number % 30

        spent = sum(await asyncio.gather(*(one(number) for number in range(200))))
        assert worst <= LIMIT
        assert books.spent(KEY) == spent >= LIMIT - 30
        while (left := LIMIT - books.spent(KEY)) >= 30:  # who gave up a moment too soon
            await replicas[0].spend(30, 30)
        assert left < 30, "what is left is spent all the same"
        await asyncio.gather(*(replica.leases.aclose() for replica in replicas))
        assert books.blocked(KEY) == 0

    run(main)
