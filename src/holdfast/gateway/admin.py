"""``/admin``: how the policies stand, for who runs the gateway; and their keys (:mod:`holdfast.gateway.admin_keys`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec

from holdfast.engine.gates import Gatehouse
from holdfast.engine.rates import RateAdmission
from holdfast.errors import InvalidRequest, MethodNotAllowed, NotFound
from holdfast.gateway.admin_keys import KeyAdmin, is_keys
from holdfast.gateway.admin_money import MONEY_PATHS, MoneyAdmin, is_money
from holdfast.gateway.admin_provider_keys import ProviderKeyAdmin, is_provider_keys
from holdfast.gateway.admin_reload import RELOAD_PATHS, ReloadAdmin, is_reload
from holdfast.gateway.asgi import respond
from holdfast.gateway.auth import AdminKeeper
from holdfast.gateway.key_desk import KeyDesk
from holdfast.gateway.provider_key_desk import ProviderKeyDesk
from holdfast.providers.catalog import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.app import App
    from holdfast.engine.gates import TargetGate
    from holdfast.engine.rates import RateStanding
    from holdfast.gateway.asgi import Request
    from holdfast.gateway.key_watch import KeyWatch
    from holdfast.gateway.keyring import Keyring
    from holdfast.gateway.reload import Reloader
    from holdfast.resilience.breaker import BreakerSnapshot
    from holdfast.resilience.hedge import HedgeState

__all__ = ["PATHS", "Admin", "is_admin"]

PATHS: Final[Mapping[str, tuple[str, ...]]] = {"/admin/targets": ("target",), "/admin/rates": ()}
"""What is served, and the query parameters that each path takes."""

_ALL: Final = (*PATHS, *MONEY_PATHS, *RELOAD_PATHS, "/admin/keys", "/admin/provider-keys")
_NOBODY: Final = "local"
"""Who asks where callers have no keys, as :class:`~holdfast.engine.exchange.Call` names them."""

_QUOTED: Final = 100
"""Characters of what a caller wrote that are told back."""


def is_admin(path: str) -> bool:
    """Whether a path is this module's to answer, if only with a 404."""
    return path == "/admin" or path.startswith("/admin/")


class Admin:
    """Answers what is asked under ``/admin``.

    Args:
        app: the wired parts.
        ring: all keys.
        reloader: of the configuration.
        watch: follows keys that other processes change, if any do.
    """

    def __init__(
        self, app: App, ring: Keyring, reloader: Reloader, watch: Callable[[], KeyWatch | None]
    ) -> None:
        self._app = app
        self._ring = ring
        self._keeper = AdminKeeper(ring)
        self._desk = desk = KeyDesk(app.config, ring, app.keys, clock=app.clock, rng=app.rng)
        read_s = app.config.gateway.read_s
        self._keys = KeyAdmin(ring, desk, read_s=read_s)
        self._provider_keys = ProviderKeyAdmin(ProviderKeyDesk(ring, app.provider_keys), read_s=read_s)
        self._money = MoneyAdmin(app, ring)
        self._reload = ReloadAdmin(app, reloader, watch)
        self._tell: dict[str, Callable[[dict[str, str]], Any]] = {
            "/admin/targets": self._targets,
            "/admin/rates": self._rates,
        }

    def adopt(self) -> None:
        """The app has another configuration."""
        config = self._app.config
        self._desk.apply(config)
        self._keys.read_s = self._provider_keys.read_s = config.gateway.read_s

    async def serve(self, request: Request) -> None:
        """Answers one request.

        Raises:
            Rejected: it isn't let in, or asks for what isn't here.
        """
        who = self._keeper.admit(request.headers)
        if is_provider_keys(request.path):
            await self._provider_keys.serve(request, by=who)
            return
        if is_keys(request.path):
            await self._keys.serve(request, by=who)
            return
        if is_money(request.path):
            await self._money.serve(request, by=who)
            return
        if is_reload(request.path):
            await self._reload.serve(request, by=who)
            return
        tell = self._tell.get(request.path)
        if tell is None:
            meant = " or ".join(nearest(request.path, _ALL) or _ALL)
            raise NotFound(f"there is no {request.method} {request.path} here; did you mean {meant}?")
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{request.path} takes GET, not {request.method}")
        arguments = _arguments(request)
        await self._ask_shared()
        await respond(request, 200, msgspec.json.encode(tell(arguments)))

    async def _ask_shared(self) -> None:
        """How limits stand that other processes share; else what the store said last would be shown."""
        engine = self._app.engine
        if isinstance(engine.admission, RateAdmission):
            await engine.admission.look(self._names())
        if isinstance(engine.gate, Gatehouse):
            await engine.gate.look()

    def _names(self) -> list[str]:
        return [key.name for key in self._ring.callers()] or [_NOBODY]

    def _targets(self, arguments: dict[str, str]) -> dict[str, Any]:
        house = self._app.engine.gate
        gates = list(house) if isinstance(house, Gatehouse) else []
        if "target" in arguments:
            gates = _chosen(gates, arguments["target"])
        now = self._app.clock.monotonic()
        overall = house.overall if isinstance(house, Gatehouse) else None
        return {
            "targets": [_target(gate, now) for gate in gates],
            "overall": None if overall is None else msgspec.to_builtins(overall.snapshot()),
            "idempotency": {"running": self._app.runs.running},
        }

    def _rates(self, _: dict[str, str]) -> dict[str, Any]:
        admission = self._app.engine.admission
        names = self._names()
        keys: dict[str, RateStanding | None] = dict.fromkeys(names)
        models: dict[str, RateStanding] = {}
        if isinstance(admission, RateAdmission):
            keys = {name: admission.standing(name) for name in names}
            models = admission.model_standings()
        return {
            "keys": [_rate("key", name, standing) for name, standing in keys.items()],
            "models": [_rate("model", pattern, standing) for pattern, standing in models.items()],
        }


def _arguments(request: Request) -> dict[str, str]:
    """The query's parameters. One that is misspelt and ignored would show everything, and look like an answer."""
    known = PATHS[request.path]
    found: dict[str, str] = {}
    for name, value in parse_qsl(request.query.decode("utf-8", "replace"), keep_blank_values=True):
        if name not in known:
            takes = f"takes {', '.join(known)}" if known else "takes none"
            said = name[:_QUOTED]
            raise InvalidRequest(f"{request.path} {takes}: there is no query parameter {said!r}", param=said)
        if name in found:
            raise InvalidRequest(f"{name} may stand in the query once", param=name)
        found[name] = value
    return found


def _chosen(gates: list[TargetGate], wanted: str) -> list[TargetGate]:
    """A target has several where routes set policies of their own."""
    chosen = [gate for gate in gates if gate.name == wanted]
    if chosen:
        return chosen
    near = nearest(wanted, [gate.name for gate in gates])
    hint = f": did you mean {near[0]}?" if near else ""
    raise NotFound(f"the target {wanted[:_QUOTED]!r} was not asked since the start{hint}", param="target")


def _target(gate: TargetGate, now: float) -> dict[str, Any]:
    """Moments become seconds from now: ours count from nowhere that anybody else knows."""
    state = gate.state()
    told: dict[str, Any] = msgspec.to_builtins(state)
    shared = told.pop("shared")
    return {
        **told,
        "breaker": None if state.breaker is None else _breaker(state.breaker) | {"shared": shared},
        "hedge": None if state.hedge is None else _hedge(state.hedge),
        "provider_limits": [
            {
                "kind": signal.kind,
                "limit": signal.limit,
                "remaining": signal.remaining,
                "reset_s": None if signal.reset_at is None else signal.reset_at - now,
                "age_s": now - signal.seen_at,
            }
            for signal in gate.signals.limits()
        ],
    }


def _breaker(snapshot: BreakerSnapshot) -> dict[str, Any]:
    return {
        "state": snapshot.state.value,
        "retry_after_s": snapshot.retry_after_s,
        "calls": snapshot.calls,
        "failures": snapshot.failures,
        "probes": snapshot.probes,
        "successes": snapshot.successes,
        "opened": snapshot.opened,
    }


def _hedge(state: HedgeState) -> dict[str, Any]:
    """Without ``won``, which only races count that the policy runs itself; the engine runs its own."""
    return {
        "delay_s": state.delay_s,
        "requests": state.requests,
        "hedges": state.hedges,
        "refused": state.refused,
    }


def _rate(kind: str, name: str, standing: RateStanding | None) -> dict[str, Any]:
    """One of the callers' limits; nulls where nothing is limited."""
    limits: dict[str, Any] = {
        "requests": None,
        "tokens": None,
        "window_s": None,
        "waiting": 0,
        "refused": 0,
        "alone": False,
    }
    return {kind: name, **(limits if standing is None else msgspec.to_builtins(standing))}
