"""BU1, BU2: processes over one set of books: nothing passes a limit, whoever asks, ends, leaves, dies or wakes up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.replicas import Replica, Spender, all_in_blocks, replicas_of

from holdfast.errors import LedgerUnavailable
from holdfast.money.budgets import Overdrawn
from holdfast.money.leases import PATIENCE_S
from holdfast.money.rules import BudgetRule, Subject
from holdfast.testing.virtual_time import VirtualClock, VirtualLoop

if TYPE_CHECKING:
    from holdfast.money.account import Account

RULES = (
    BudgetRule(name="all", limit_nano=1_000, window="day"),
    BudgetRule(name="key", scope="key", limit_nano=600, window="hour"),
    BudgetRule(name="tokens", scope="model", limit_tokens=800, window="forever"),
    BudgetRule(name="soft", limit_nano=100, window="day", hard=False),
)
LIMITS = {"all": 1_000, "key": 600, "tokens": 800}
SUBJECTS = (Subject(key="a", model="m"), Subject(key="b", model="m"), Subject(key="a", model="n"))
WHICH = st.integers(0, 11)
AMOUNTS = st.sampled_from([0, 1, 50, 100, 199, 200, 201, 400, 600])


class Replicas(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop)
        asyncio.set_event_loop(None)
        self.books, self.replicas = self.do(self.begin())
        self.asking: list[tuple[Spender, int, asyncio.Task[None]]] = []
        self.running: list[tuple[Replica, Spender, int]] = []
        self.billed: dict[str, int] = {}
        """By account: what ended requests cost, and the bounds of those that were given up."""
        self.beyond = 0
        """Of bills above what was set aside for them."""

    async def begin(self):
        return replicas_of(self.clock, *RULES, count=3)

    def do(self, work):
        return self.loop.run_until_complete(work)

    async def turn(self) -> None:
        await asyncio.sleep(0)
        done = [each for each in self.asking if each[2].done()]
        self.asking = [each for each in self.asking if not each[2].done()]
        for spender, bound, task in done:
            error = None if task.cancelled() else task.exception()
            assert error is None or isinstance(error, Overdrawn | LedgerUnavailable), error
            if task.cancelled() or error is not None:
                spender.end()
            else:
                self.running.append((spender.replica, spender, bound))

    @precondition(lambda self: len(self.asking) + len(self.running) < 12)
    @rule(which=st.integers(0, 2), subject=st.sampled_from(SUBJECTS), bound=AMOUNTS)
    def ask(self, which: int, subject: Subject, bound: int) -> None:
        async def lead(spender: Spender) -> None:
            await spender.reserve(bound)
            await spender.begin()
            await spender.cover(bound)

        async def begun() -> None:
            spender = self.replicas[which].spender(subject)
            self.asking.append((spender, bound, asyncio.create_task(lead(spender))))
            await self.turn()

        self.do(begun())

    @precondition(lambda self: self.asking)
    @rule(which=WHICH)
    def leave_while_asking(self, which: int) -> None:
        async def leave() -> None:
            _, _, task = self.asking[which % len(self.asking)]
            task.cancel()
            await asyncio.wait([task])
            await self.turn()

        self.do(leave())

    @precondition(lambda self: self.running)
    @rule(which=WHICH, share=st.sampled_from([0, 0.3, 1, 1, 1.5]))
    def end(self, which: int, share: float) -> None:
        async def over() -> None:
            _, spender, bound = self.running.pop(which % len(self.running))
            cost = int(bound * share)
            self.beyond += max(0, cost - bound)
            spender.settle(cost)
            for account in spender.hold.accounts:
                self.billed[account.key] = self.billed.get(account.key, 0) + cost
            spender.end()
            await self.turn()

        self.do(over())

    @precondition(lambda self: self.running)
    @rule(which=WHICH, bound=AMOUNTS)
    def one_more_attempt(self, which: int, bound: int) -> None:
        """Beside the first one, at its cost: the ledger's bound is raised before."""

        async def more() -> None:
            replica, spender, _ = self.running[which % len(self.running)]
            try:
                slot = await spender.cover(bound)
            except (Overdrawn, LedgerUnavailable):
                spender.slots -= 1
                return
            covered = spender.hold.covered
            try:
                await replica.ledger.raise_bound(
                    spender.id, bound_nano=covered.nano, bound_tokens=covered.tokens
                )
            except LedgerUnavailable:
                spender.settle(0, slot)
                spender.slots -= 1
                return
            spender.settle(bound, slot)
            spender.slots -= 1
            for account in spender.hold.accounts:
                self.billed[account.key] = self.billed.get(account.key, 0) + bound

        self.do(more())

    @rule(which=st.integers(0, 2))
    def freeze_and_wake(self, which: int) -> None:
        """The others take it for dead; it goes on under another name."""

        async def fence() -> None:
            self.replicas[which].ledger.fence()
            await self.turn()

        self.do(fence())

    @rule(which=st.integers(0, 2), reason=st.sampled_from([None, None, "lost"]))
    def reach(self, which: int, reason: str | None) -> None:
        self.replicas[which].authority.lost = reason  # type: ignore[attr-defined]  # the twin's

    @rule(seconds=st.sampled_from([0.001, 0.002, 0.02, PATIENCE_S, 1.5, 3.0]))
    def wait(self, seconds: float) -> None:
        async def waited() -> None:
            await asyncio.sleep(seconds)
            await self.turn()

        self.do(waited())

    @invariant()
    def never_passed(self) -> None:
        if self.beyond:
            return
        for account in self.books.blocks:
            assert all_in_blocks(self.books, account) <= LIMITS[account.partition(":")[0]], account

    @invariant()
    def what_is_held_in_memory_is_in_the_database(self) -> None:
        for replica in self.replicas:
            for account in replica.budgets:
                assert account.free >= 0
                assert account.reserved >= 0
                if account.rule.hard:
                    row = self.books.blocks.get(account.key, {}).get(replica.ledger.owner, 0)
                    held = self.held(replica, account)
                    assert account.free + held <= row, "it would spend what nobody set aside"
                    assert account.reserved >= held

    def held(self, replica: Replica, account: Account) -> int:
        """What its requests have of the block that there is now: none of one that is gone."""
        spenders = [*(spender for spender, *_ in self.asking), *(spender for _, spender, _ in self.running)]
        holds = [each.hold for each in spenders if each.replica is replica]
        return sum(
            hold._reserved[place]
            for hold in holds
            if hold._epoch == replica.leases.epoch
            for place, each in enumerate(hold.accounts)
            if each is account
        )

    def teardown(self) -> None:
        """In the end everything is over, nothing is held, and the books have what was billed."""

        async def finish() -> None:
            for replica in self.replicas:
                replica.authority.lost = None  # type: ignore[attr-defined]  # as above
            for _, _, task in self.asking:
                task.cancel()
            if self.asking:
                await asyncio.wait([task for *_, task in self.asking])
            await self.turn()
            for _, spender, _ in self.running:
                spender.settle(0)
                spender.end()
            await asyncio.sleep(5)
            for replica in self.replicas:
                for account in replica.budgets:
                    assert (account.free, account.reserved, account.holds) == (0, 0, 0)
            assert all(not blocks for blocks in self.books.blocks.values()), "everything went back"
            for account, billed in self.billed.items():
                assert self.books.spent(account) == billed
            for replica in self.replicas:
                await replica.aclose()

        try:
            self.do(finish())
        finally:
            self.loop.close()


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=60, stateful_step_count=40)
