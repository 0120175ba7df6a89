"""``/admin/budgets``, ``/admin/sessions``, ``/admin/cost-breaker``: what is spent, by whom, and what an operator can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec
import structlog
from msgspec import Struct

from holdfast.errors import InvalidRequest, MethodNotAllowed, NotFound
from holdfast.gateway.asgi import respond
from holdfast.gateway.money_metrics import share_of
from holdfast.money.cost import format_usd
from holdfast.money.session import BUDGET
from holdfast.providers.catalog import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.app import App
    from holdfast.engine.sessions import SessionDesk
    from holdfast.engine.treasury import Treasury
    from holdfast.gateway.asgi import Request
    from holdfast.gateway.keyring import Keyring
    from holdfast.money.account import Account
    from holdfast.money.cost_breaker import CostBreaker
    from holdfast.money.rules import BudgetRule
    from holdfast.money.session import Session

__all__ = ["MONEY_PATHS", "OPERATIONS", "MoneyAdmin", "MoneyOperation", "is_money"]

_log = structlog.get_logger("holdfast.admin")

_BUDGETS: Final = "/admin/budgets"
_SESSIONS: Final = "/admin/sessions"
_SESSION: Final = "/admin/sessions/{key}/{id}"
_BREAKER: Final = "/admin/cost-breaker"
_RESET: Final = "/admin/cost-breaker/reset"
MONEY_PATHS: Final = (_BUDGETS, _SESSIONS, _BREAKER)
_MOST: Final = 1_000
"""Budgets, subjects or sessions in one answer."""
_QUOTED: Final = 100


class MoneyOperation(Struct, frozen=True, kw_only=True):
    """One method of one path, as it is served and as the OpenAPI document tells it."""

    name: str
    summary: str
    query: tuple[str, ...] = ()
    refusals: tuple[int, ...] = ()
    """Beside those of every path here."""


OPERATIONS: Final[Mapping[tuple[str, str], MoneyOperation]] = {
    ("GET", _BUDGETS): MoneyOperation(
        name="list_budgets",
        summary="What each budget says, and how much of it each subject has spent and set aside, the fullest first",
        query=("budget", "subject"),
    ),
    ("GET", _SESSIONS): MoneyOperation(
        name="list_sessions",
        summary="Sessions, those that go on first: how much each has spent, and how long it has left",
        query=("key",),
    ),
    ("GET", _SESSION): MoneyOperation(name="show_session", summary="One session"),
    ("DELETE", _SESSION): MoneyOperation(
        name="end_session", summary="Ends a session for good; what runs in it goes on", refusals=(503,)
    ),
    ("GET", _BREAKER): MoneyOperation(
        name="show_cost_breaker", summary="How the breaker of everybody's spending stands"
    ),
    ("POST", _RESET): MoneyOperation(
        name="reset_cost_breaker",
        summary="Closes it: what was spent before counts no more for it; budgets still hold",
        refusals=(503,),
    ),
}


def is_money(path: str) -> bool:
    """Whether a path is this module's to answer, if only with a 404."""
    return any(path == root or path.startswith(f"{root}/") for root in MONEY_PATHS)


class MoneyAdmin:
    """Answers what is asked of budgets, sessions and the cost breaker.

    Args:
        app: the wired parts.
        ring: whose keys may have budgets of their own.
    """

    def __init__(self, app: App, ring: Keyring) -> None:
        self._app = app
        self._ring = ring

    async def serve(self, request: Request, *, by: str) -> None:
        """Answers one request of the operator ``by``.

        Raises:
            Rejected: it asks for what isn't here.
            LedgerUnavailable: what it asks for couldn't be made durable.
        """
        template, key, session_id = _placed(request.path)
        method = "GET" if request.method == "HEAD" else request.method
        operation = OPERATIONS.get((method, template))
        if operation is None:
            takes = " or ".join(method for method, path in OPERATIONS if path == template)
            raise MethodNotAllowed(f"{request.path[:_QUOTED]} takes {takes}, not {request.method}")
        arguments = _arguments(request, operation)
        treasury = self._app.engine.treasury
        if treasury is None:
            raise NotFound("this gateway keeps no budgets")
        match operation.name:
            case "list_budgets":
                said = await self._budgets(treasury, arguments)
            case "list_sessions":
                said = await _list_sessions(treasury, arguments.get("key"))
            case "show_session":
                said = await _show_session(treasury, key, session_id)
            case "end_session":
                said = await _end_session(treasury, key, session_id, by=by)
            case "show_cost_breaker":
                said = await _show_breaker(treasury)
            case _:
                said = await _reset(treasury, by=by)
        await respond(request, 200, msgspec.json.encode(said))

    async def _budgets(self, treasury: Treasury, arguments: Mapping[str, str]) -> dict[str, Any]:
        config = self._app.config
        rules = [*config.budgets, *config.cost_protection.rules, *self._ring.budgets()]
        budget, subject = arguments.get("budget"), arguments.get("subject")
        if budget is not None:
            rules = _named(rules, budget)
        now_ns = treasury.clock.wall_ns()
        names = {
            rule.name for rule in rules
        }  # one that a reload took away limits nothing, though it is remembered
        asked = [
            account
            for account in treasury.budgets
            if account.rule.name in names and subject in (None, account.subject)
        ]
        asked.sort(key=lambda account: -share_of(account, now_ns))
        await treasury.news(asked)
        found = [(share_of(account, now_ns), account) for account in asked]
        found.sort(key=lambda each: -each[0])
        return {
            "budgets": [_told_rule(rule) for rule in rules[:_MOST]],
            "accounts": [_told_account(account, share, now_ns) for share, account in found[:_MOST]],
            "more": max(0, len(found) - _MOST),
            "reservations": treasury.budgets.holds,
            "overruns": treasury.budgets.overruns,
            "refused": dict(treasury.refused),
        }


async def _list_sessions(treasury: Treasury, key: str | None) -> dict[str, Any]:
    desk = treasury.sessions
    if desk is None:
        return {"enabled": False, "sessions": [], "more": 0}
    found = [session for session in desk.sessions if key in (None, session.key)]
    found.sort(key=lambda session: (not session.active, -session.started_ns))
    shown = {f"{session.key}/{session.id}" for session in found[:_MOST]}
    await treasury.news(
        [each for each in treasury.budgets if each.rule.name == BUDGET and each.subject in shown]
    )
    spent, now_ns = _spent_by_sessions(treasury), treasury.clock.wall_ns()
    return {
        "enabled": True,
        "sessions": [_told_session(session, spent, now_ns) for session in found[:_MOST]],
        "more": max(0, len(found) - _MOST),
        "counts": desk.sessions.snapshot(),
    }


async def _show_session(treasury: Treasury, key: str, session_id: str) -> dict[str, Any]:
    session = await _desk(treasury).get(key, session_id)
    if session is None:
        raise _no_session(key, session_id)
    return _told_session(session, _spent_by_sessions(treasury), treasury.clock.wall_ns())


async def _end_session(treasury: Treasury, key: str, session_id: str, *, by: str) -> dict[str, Any]:
    session = await _desk(treasury).end(key, session_id)
    if session is None:
        raise _no_session(key, session_id)
    _log.info("session ended", key=key, session=session_id, state=session.state.value, by=by)
    return _told_session(session, _spent_by_sessions(treasury), treasury.clock.wall_ns())


async def _show_breaker(treasury: Treasury) -> dict[str, Any]:
    if treasury.breaker is not None:
        await treasury.news([treasury.breaker.account])
    return _told_breaker(treasury.breaker)


async def _reset(treasury: Treasury, *, by: str) -> dict[str, Any]:
    breaker = treasury.breaker
    if breaker is None:
        raise NotFound("there is no cost breaker: cost_protection.enabled is false")
    # The rows first: if they can't be taken out, it stays open, rather than open again after the next start.
    await treasury.forget(breaker.account)
    _log.warning("cost breaker reset", by=by)
    return _told_breaker(breaker)


def _placed(path: str) -> tuple[str, str, str]:
    """The path with a session's names taken out, and these. An id may hold slashes, a key's name none."""
    if any(path == known for _, known in OPERATIONS):
        return path, "", ""
    if path.startswith(f"{_SESSIONS}/"):
        key, _, session_id = path.removeprefix(f"{_SESSIONS}/").partition("/")
        if key and session_id:
            return _SESSION, key, session_id
        raise NotFound(f"a session is named by its key and its id: {_SESSIONS}/KEY/ID")
    raise NotFound(f"there is no {path[:_QUOTED]} here; did you mean {' or '.join((*MONEY_PATHS, _RESET))}?")


def _arguments(request: Request, operation: MoneyOperation) -> dict[str, str]:
    """The query's parameters. One that is misspelt and ignored would show everything, and look like an answer."""
    known = operation.query
    found: dict[str, str] = {}
    for name, value in parse_qsl(request.query.decode("utf-8", "replace"), keep_blank_values=True):
        said = name[:_QUOTED]
        if name not in known:
            takes = f"takes {', '.join(known)}" if known else "takes none"
            path = request.path[:_QUOTED]
            raise InvalidRequest(f"{path} {takes}: there is no query parameter {said!r}", param=said)
        if name in found:
            raise InvalidRequest(f"{name} may stand in the query once", param=name)
        found[name] = value
    return found


def _named(rules: list[BudgetRule], name: str) -> list[BudgetRule]:
    found = [rule for rule in rules if rule.name == name]
    if found:
        return found
    near = nearest(name, [rule.name for rule in rules])
    hint = f": did you mean {near[0]}?" if near else ""
    raise NotFound(f"there is no budget {name[:_QUOTED]!r}{hint}", param="budget")


def _desk(treasury: Treasury) -> SessionDesk:
    if treasury.sessions is None:
        raise NotFound("sessions are only names here: cost_protection.enabled is false")
    return treasury.sessions


def _no_session(key: str, session_id: str) -> NotFound:
    return NotFound(f"the key {key[:_QUOTED]!r} has no session {session_id[:_QUOTED]!r}")


def _told_rule(rule: BudgetRule) -> dict[str, Any]:
    return {
        "budget": rule.name,
        "scope": f"tag:{rule.tag}" if rule.tag else rule.scope,
        "match": rule.match,
        "window": rule.window,
        "unit": rule.measure,
        "limit": _amount(rule.limit, rule.measure),
        "warn_at": rule.warn_at,
        "hard": rule.hard,
    }


def _told_account(account: Account, share: float, now_ns: int) -> dict[str, Any]:
    rule = account.rule
    spent = account.spent(now_ns)
    never = (
        rule.window == "session"
    )  # its amounts are cleared away in the end, but the session is over long before
    frees_ns = account.spending.frees_ns(spent, now_ns) if spent and not never else None
    return {
        "budget": rule.name,
        "subject": account.subject or None,
        "window": rule.window,
        "unit": rule.measure,
        "hard": rule.hard,
        "limit": _amount(rule.limit, rule.measure),
        "spent": _amount(spent, rule.measure),
        "reserved": _amount(account.reserved, rule.measure),
        "leased": None if account.block is None else _amount(account.block, rule.measure),
        "left": _amount(max(0, rule.limit - spent - account.taken), rule.measure),
        "used": round(share, 4),
        "refused": account.refused,
        "free_again_in_s": None if frees_ns is None else max(0, frees_ns - now_ns) / 1e9,
    }


def _amount(amount: int, measure: str) -> str | int:
    """Dollars as text: JSON's numbers are binary to most who read them."""
    return format_usd(amount) if measure == "usd" else amount


def _told_session(session: Session, spent: Mapping[str, int], now_ns: int) -> dict[str, Any]:
    return {
        "id": session.id,
        "key": session.key,
        "state": session.state.value,
        "started_ns": session.started_ns,
        "ends_ns": session.ends_ns,
        "ended_ns": session.ended_ns,
        "left_s": session.left_s(now_ns),
        "warned": session.warned_ns is not None,
        "spent_usd": format_usd(spent.get(f"{session.key}/{session.id}", 0)),
    }


def _spent_by_sessions(treasury: Treasury) -> dict[str, int]:
    """As the sessions' budget names them."""
    now_ns = treasury.clock.wall_ns()
    return {
        account.subject: account.spent(now_ns) for account in treasury.budgets if account.rule.name == BUDGET
    }


def _told_breaker(breaker: CostBreaker | None) -> dict[str, Any]:
    if breaker is None:
        return {"enabled": False}
    state = breaker.snapshot()
    return {
        "enabled": True,
        "state": state.state.value,
        "threshold_usd": format_usd(state.threshold_nano),
        "spent_usd": format_usd(state.spent_nano),
        "reserved_usd": format_usd(state.reserved_nano),
        "window_s": breaker.settings.window_s,
        "cool_down_s": breaker.settings.cool_down_s,
        "probes": state.probes,
        "opened": state.opened,
        "refused": state.refused,
        "retry_after_s": state.retry_after_s,
    }
