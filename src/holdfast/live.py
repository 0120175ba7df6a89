"""One configuration at work: what a request takes at its start and keeps to its end, whatever is reloaded meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.config import Config
    from holdfast.engine.engine import Engine
    from holdfast.engine.policy import Gates
    from holdfast.tenants import Tenants

__all__ = ["Live", "gates_in"]


class Live(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Never changed, only replaced, by one assignment.

    What lasts longer than a configuration (breakers, rates, budgets, sessions, idempotent runs, connections, the ledger) is
    shared by all of them, and is judged by the limits of the newest one.
    """

    config: Config
    engine: Engine
    """Reaches providers with this configuration's addresses and keys, and bills by its prices."""
    tenants: Tenants
    """Resolve names by its routes."""
    generation: int = 1
    """1 is the start's; each reload that changed something adds one."""
    since_ns: int
    """Wall time."""


def gates_in(config: Config) -> Mapping[tuple[str, str], Gates]:
    """The policies before ``config``'s targets, by provider and route, as :meth:`Gatehouse.apply` takes them."""
    rules = {(provider.name, ""): provider.gates for provider in config.providers.values()}
    for route in config.routes.values():
        rules |= {(target.provider, target.gates.route): target.gates for target in route.targets}
    return rules
