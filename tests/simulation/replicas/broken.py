"""Products that are broken on purpose, each in one way: the monitors must notice, each within a few worlds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace
from tests.simulation.replicas.database import Database, ReplicaLedger
from tests.simulation.replicas.keys import Keys
from tests.simulation.replicas.plan import Ask, Plan, Trouble, draw
from tests.simulation.replicas.redis import RedisServer
from tests.simulation.replicas.replica import Wiring

from holdfast.engine.shared_rates import SharedRates
from holdfast.ledger.idempotency import Claimed
from holdfast.ledger.sql_idempotency import SqlIdempotency
from holdfast.ledger.statement import Result
from holdfast.money.leases import Leases
from holdfast.stores.breaker_state import Answer
from holdfast.stores.redis_breakers import RedisBreakers
from holdfast.stores.redis_rates import RedisRates

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.simulation.replicas.database import Way

    from holdfast.ledger.blocks import Grant, Want
    from holdfast.ledger.entry import End, Intent
    from holdfast.ledger.idempotency import Answer as Kept
    from holdfast.ledger.idempotency import Claim
    from holdfast.ledger.statement import Connection
    from holdfast.stores.base import Spell
    from holdfast.stores.breaker_state import Grant as ProbeGrant
    from holdfast.stores.breaker_state import ProbeAsk
    from holdfast.stores.rates import Restore

__all__ = ["BROKEN", "Broken"]


class Broken(msgspec.Struct, frozen=True):
    """One defect."""

    wiring: type[Wiring]
    promises: tuple[str, ...]
    """One of them is seen to be broken."""
    have: tuple[str, ...]
    """What a world must have for it to matter."""
    seed: int = 0
    """In this world or one of the next few it is seen: which, changes with each turn that the product takes more or less."""
    scene: Plan | None = None
    """Where worlds in which it matters are rare: one that is."""

    def plans(self) -> Iterator[Plan]:
        """Worlds in one of which it must be found."""
        if self.scene is not None:
            yield self.scene
            return
        for seed in range(self.seed, self.seed + 5):
            yield draw(seed, hours=0.05, have=self.have, load=4.0)


def _every(every_s: float, until_s: float, *, words: int) -> tuple[Ask, ...]:
    """Requests to two processes in turn."""
    return tuple(
        Ask(
            n=n,
            at_s=n * every_s,
            replica=n % 2,
            stream=True,
            words=words,
            key="key-0",
            session=None,
            team=None,
        )
        for n in range(round(until_s / every_s))
    )


_CALM: Final = Plan(
    seed=1,
    length_s=75.0,
    replicas=2,
    skews_s=(0.0, 0.0),
    database_s=0.002,
    database_fails=0.0,
    redis_s=0.001,
    redis_spikes=0.0,
    wall_s=7200.0,
    rules=(),
    rate=None,
    model_rate=None,
    breaker=None,
    head_s=0.1,
    gap_s=0.01,
    provider_fails=0.0,
    troubles=(),
    asks=(),
)
_FROZEN_BESIDE_A_SPENT_BUDGET: Final = replace(
    _CALM,
    rules=({"name": "b0", "scope": "all", "window": "forever", "limit_nano": 124_000_000, "hard": True},),
    troubles=(Trouble(what="freeze", at_s=10.01, end_s=58.0, replica=0),),
    asks=_every(0.25, 75.0, words=60),
)
"""One process is frozen until it is given up; the other one spends what is left. Then it wakes up."""
_DIES_WITH_A_PROBE: Final = replace(
    _CALM,
    seed=0,
    length_s=40.0,
    breaker={
        "failure_threshold": 1,
        "success_threshold": 1,
        "min_requests": 1,
        "window_s": 30.0,
        "open_s": 1.0,
        "max_open_s": 20.0,
        "half_open_s": 20.0,
    },
    head_s=3.0,
    troubles=(
        *(Trouble(what="provider_down", at_s=8.0 * n, end_s=8.0 * n + 3.0) for n in range(5)),
        *(Trouble(what="crash", at_s=4.0 + 1.7 * n, end_s=4.5 + 1.7 * n, replica=n % 2) for n in range(20)),
    ),
    asks=_every(0.2, 30.0, words=4),
)
"""Processes die one after the other while a half-open breaker's probes are out."""


class _UncountedBlocks(Database):
    """A grant looks at what is spent, and at the asker's own block."""

    def lease(self, owner: str, wants: Sequence[Want], way: Way) -> list[Grant]:
        kept = {want.account: self.books.blocks.get(want.account, {}) for want in wants}
        for account, blocks in kept.items():
            self.books.blocks[account] = {name: each for name, each in blocks.items() if name == owner}
        try:
            return super().lease(owner, wants, way)
        finally:
            for account, blocks in kept.items():
                self.books.blocks[account] = {**blocks, **self.books.blocks[account]}


class _KeepsBlocks(Leases):
    """Who was taken for dead goes on with its blocks, which are others' by now."""

    def fenced(self) -> None:
        self.fences += 1


class _NoBounds(Database):
    """Recovery drops the blocks, and charges nothing."""

    def charge_bound(self, intent: Intent, sign: int) -> None:
        pass


class _Unfenced(Database):
    """Intents are written in the name of whoever asks."""

    def lives(self, owner: str) -> bool:
        return owner != ""


class _NothingBack(SharedRates):
    """What was admitted isn't written back to a Redis that has lost it."""

    async def _heal(self, restore: Restore) -> None:
        pass

    def _changed(self) -> None:
        for limit in list(self._limits.values()):
            limit.wake()


class _OwnWindows(RedisRates):
    """Each process has windows of its own."""

    def _keys(self, window: str) -> tuple[str, str]:
        return super()._keys(f"{window}.{id(self._store)}")


class _FreeProbes(RedisBreakers):
    """Whoever asks for a probe's place gets one."""

    async def probe(self, target: str, ask: ProbeAsk, spell: Spell | None = None) -> ProbeGrant:
        grant = await super().probe(target, ask, spell)
        return replace(grant, answer=Answer.GRANTED)


class _LeaseForEver(RedisServer):
    """A probe's place is kept for whoever died with it."""

    def _breaker_probe(self, keys: list[str], args: list[str]) -> Any:
        return super()._breaker_probe(keys, [*args[:-1], "1000000000"])

    def _breaker_renew(self, keys: list[str], args: list[str]) -> Any:
        return super()._breaker_renew(keys, [*args[:4], "1000000000", *args[5:]])


class _NobodyDies(Database):
    """A process' lease never ends."""

    def recover(self, me: str, lease_s: float, *, calm: bool) -> None:
        super().recover(me, lease_s, calm=calm or me != "")


class _TwiceCharged(Database):
    """An end that is written once more, since nobody knew, is charged once more."""

    def close(self, end: End) -> None:
        before = self.second_ends[end.id]
        super().close(end)
        if self.second_ends[end.id] > before:
            for charge in end.charges:
                self.books.charge(charge)


class _Zombie(ReplicaLedger):
    """Who was given up hears that its intents are durable, and sends."""

    def _commit(self, *args: Any) -> tuple[bool, list[Result]]:
        _, results = super()._commit(*args)
        return True, [each if each.refused is None else Result(Claimed()) for each in results]


class _EndsDropped(ReplicaLedger):
    """Ends of a group whose answer got lost are thought to be written."""

    def _failed(self, begun: Sequence[Any], asked: Sequence[Any], *, ambiguous: bool) -> None:
        if ambiguous:
            self.written(list(self._ends))
        super()._failed(begun, asked, ambiguous=ambiguous)


class _FreedKeys(Keys):
    """A run whose process is gone is thought never to have been."""

    def lose(self, connection: Connection, now_ns: int) -> None:
        connection.execute("DELETE FROM idempotency WHERE owner NOT IN (SELECT id FROM owners)")


class _KeysOfTheDead(Keys):
    """A run whose process is gone stays as it is."""

    def lose(self, connection: Connection, now_ns: int) -> None:
        pass


class _FreesKeys(Database):
    keys_of = _FreedKeys


class _LeavesKeys(Database):
    keys_of = _KeysOfTheDead


class _NeverUndone(ReplicaLedger):
    """What may have been claimed stays claimed."""

    def _give_up(self, begun: Sequence[Any], asked: Sequence[Any], *, ambiguous: bool) -> None:
        kept = [(replace(each, undo=None), told) for each, told in asked]
        super()._give_up(begun, kept, ambiguous=ambiguous)


class _OwnKeys(SqlIdempotency):
    """Each process looks at its own keys."""

    async def claim(self, claim: Claim, **more: Any) -> Any:
        return await super().claim(self._own(claim), **more)

    async def finish(self, claim: Claim, answer: Kept, *, now_ns: int) -> bool:
        return await super().finish(self._own(claim), answer, now_ns=now_ns)

    async def forget(self, claim: Claim, *, now_ns: int) -> bool:
        return await super().forget(self._own(claim), now_ns=now_ns)

    async def get(self, tenant: str, key: str, *, now_ns: int) -> Any:
        return await super().get(f"{tenant}.{id(self)}", key, now_ns=now_ns)

    def _own(self, claim: Claim) -> Claim:
        return replace(claim, tenant=f"{claim.tenant}.{id(self)}")


class _Forgetful(SqlIdempotency):
    """Answers aren't kept."""

    async def finish(self, claim: Claim, answer: Kept, *, now_ns: int) -> bool:
        return await super().forget(claim, now_ns=now_ns)


def _with(**parts: type) -> type[Wiring]:
    return type("Wired", (Wiring,), parts)


BROKEN: Final = {
    "counts no others' blocks when it grants": Broken(
        _with(database=_UncountedBlocks), ("BU1",), ("rules",), seed=100
    ),
    "keeps its blocks when it was fenced": Broken(
        _with(leases=_KeepsBlocks), ("BU1", "LIVE"), (), scene=_FROZEN_BESIDE_A_SPENT_BUDGET
    ),
    "frees the blocks of the dead and charges no bounds": Broken(
        _with(database=_NoBounds), ("BU1", "BU2"), ("rules", "crash"), seed=102
    ),
    "writes intents of who was given up": Broken(
        _with(database=_Unfenced), ("LE1", "BU1"), ("rules", "freeze", "database_cut"), seed=123
    ),
    "writes nothing back to a Redis that forgot": Broken(
        _with(rates=_NothingBack), ("RL1",), ("rate", "redis_flush", "redis_forgets"), seed=103
    ),
    "counts rates in each process alone": Broken(
        _with(redis_rates=_OwnWindows), ("RL1",), ("rate",), seed=100
    ),
    "lets probes out without a lease": Broken(
        _with(redis_breakers=_FreeProbes), ("CB2",), ("breaker", "provider_down"), seed=107
    ),
    "keeps probes' leases for ever": Broken(
        _with(redis=_LeaseForEver), ("LIVE",), (), scene=_DIES_WITH_A_PROBE
    ),
    "never gives a process up": Broken(
        _with(database=_NobodyDies), ("LE1", "LIVE"), ("rules", "crash"), seed=100
    ),
    "charges an end twice after a lost answer": Broken(
        _with(database=_TwiceCharged), ("BU2", "BU1"), ("rules", "database_fails"), seed=101
    ),
    "sends on as a zombie": Broken(_with(ledger=_Zombie), ("LE1",), ("freeze", "database_cut"), seed=104),
    "frees the keys of the dead": Broken(
        _with(database=_FreesKeys), ("ID1",), ("keys", "crash", "freeze"), seed=100
    ),
    "leaves the keys of the dead as they are": Broken(
        _with(database=_LeavesKeys), ("LIVE",), ("keys", "crash"), seed=100
    ),
    "undoes no claim whose answer got lost": Broken(
        _with(ledger=_NeverUndone), ("LIVE",), ("keys", "database_fails"), seed=100
    ),
    "keeps keys in each process alone": Broken(_with(idempotency=_OwnKeys), ("ID1",), ("keys",), seed=100),
    "keeps no answers": Broken(_with(idempotency=_Forgetful), ("ID1",), ("keys",), seed=100),
    "drops ends when their group fails": Broken(
        _with(ledger=_EndsDropped), ("LE1",), ("rules", "database_fails"), seed=101
    ),
}
"""By what is wrong."""
