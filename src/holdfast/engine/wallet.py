"""The doors that a request may use beside the shared ones: those that its tenant's own keys open, and its caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.engine.endpoint import Endpoint
    from holdfast.engine.policy import Target

__all__ = ["Wallet"]


class Wallet(msgspec.Struct, frozen=True, eq=False):
    """As they were when the request came: a key that is changed or removed meanwhile still serves what it began.

    A key of one's own is a deployment of its own: so breakers, limits and rows of the ledger tell it from the shared one and
    from every other tenant's.
    """

    doors: Mapping[tuple[str, str], Mapping[str, Endpoint]]
    """By provider and deployment, then by dialect; of these the provider's own is the first."""

    def endpoint(self, target: Target, dialect: str) -> Endpoint | None:
        """Where ``target`` is reached: in ``dialect``, if it speaks that, else in its own. None: by a shared door."""
        doors = self.doors.get((target.provider, target.deployment))
        if doors is None:
            return None
        return doors.get(dialect) or next(iter(doors.values()))

    def __repr__(self) -> str:
        return f"Wallet({', '.join(f'{provider}[{name}]' for provider, name in self.doors)})"  # headers hold keys
