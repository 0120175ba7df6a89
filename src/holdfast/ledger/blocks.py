"""Blocks: what a process may spend of an account without asking, where several processes spend of it.

The ledger's database is the authority. At every instant, by its own time::

    spent in the window + Σ blocks ≤ limit        of each hard account

=====================  =================================================================================================
lease                  adds to a block what there is room for, while nobody else leases of that account
a request's end        what it spent is added to what is spent and taken off its process' block, in one transaction
give back              takes off a block what nothing runs on
an owner is given up   the bounds of its open requests are added to what is spent, its blocks are deleted, in one transaction
=====================  =================================================================================================

So an amount is in a block or spent, never in neither, and never in a dead process' block for longer than its lease.

How much a lease gives, where ``room`` is what is neither spent nor in any block, and ``owners`` live:

==============================  =================================================
room < least                    nothing: it would serve nobody
room < needed                   all of it: some who wait can go on
else                            ``wish``, at most ``room / (2 * owners)``, at least ``needed``
==============================  =================================================

Half of what is left stays for who comes next, so that a first process doesn't take all of it, and near the limit each gets
only what it needs now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Authority", "Grant", "Listener", "Want", "granted"]

_LEFT_FOR_OTHERS: Final = 2
"""A lease that grows leaves half of an even share to who comes later."""


class Want(Struct, frozen=True, kw_only=True):
    """How much more a process would like to have in its block of one account. Nano-dollars or tokens, above 0."""

    account: str
    limit: int
    """As the asking process has it configured."""
    least: int
    """Less is of no use to anybody who waits."""
    needed: int
    """What all who wait need together."""
    wish: int
    """At best, so that the next ones needn't ask."""


class Grant(Struct, frozen=True, kw_only=True):
    """What a lease gave, and how the account stood just before, in the same transaction."""

    account: str
    amount: int
    """Added to the block; 0: there is no room."""
    spent: int
    """In the window, by everybody."""
    mine: int
    """In the asking process' block."""
    elsewhere: int
    """In all others' blocks."""
    frees_ns: int | None = None
    """When enough of what is spent won't count any more; None: it isn't known, or something was given."""


class Listener(Protocol):
    """Who is told what others do. Called on the event loop; must not raise."""

    def called(self, account: str | None) -> None:
        """Somebody has no room in this account: what is free of its block is to go back. None: in any of them."""
        ...

    def forgotten(self, account: str) -> None:
        """What was spent of it before counts no more: an operator's word, in another process."""
        ...

    def fenced(self) -> None:
        """This process was taken for dead: its blocks are gone, and its open requests are charged at their bounds."""
        ...


class Authority(Protocol):
    """Who knows what is spent and leased by all. One for a process; calls are made one after the other.

    Raises:
        LedgerUnavailable: any of them, where it can't be asked. A lease may have been granted all the same, and what was
            given back may still be leased: the process must not count on either.
    """

    async def lease(self, wants: Sequence[Want]) -> list[Grant]:
        """One answer for each, in their order; accounts are told apart. Who finds no room has the others called."""
        ...

    async def give_back(self, amounts: Mapping[str, int | None]) -> None:
        """Takes that off this process' blocks; None: all that there is, also what the process doesn't know of.

        Requests whose amounts these were must have ended durably before.
        """
        ...

    async def spent(self, accounts: Sequence[str]) -> dict[str, int]:
        """What counts now, by everybody."""
        ...

    async def forget(self, account: str) -> None:
        """What was spent of it counts no more, and the others are told."""
        ...

    def listen(self, listener: Listener) -> None:
        """From now on ``listener`` is told. One for an authority."""
        ...

    async def aclose(self) -> None:
        """Stops listening. A second call does nothing."""
        ...


def granted(want: Want, *, room: int, owners: int) -> int:
    """How much a lease gives: the table above. ``owners``: living ones, 1 or more."""
    if room < want.least:
        return 0
    if room < want.needed:
        return room
    return max(want.needed, min(want.wish, room // (_LEFT_FOR_OTHERS * owners)))
