"""What may be asked of a key, as JSON says it, and what is told of one. Nothing here has a key's text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal  # noqa: TC003  # msgspec reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from pydantic_core import PydanticCustomError

from holdfast.config import Key, fields
from holdfast.engine.route import fold
from holdfast.errors import InvalidRequest
from holdfast.ledger.keys import KeyBudget, KeyLimits, KeyRate, KeyWindow, StoredKey
from holdfast.money.cost import format_usd, to_nano, to_usd
from holdfast.money.rules import MOST_NANO, BudgetRule
from holdfast.resilience.rate_meter import RateLimitSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.ledger.keys import KeyText

__all__ = [
    "Changes",
    "NewKey",
    "Rotation",
    "as_key",
    "changed",
    "limits_of",
    "read_form",
    "told",
    "told_of_file",
]

_AT: Final = re.compile(r"(?P<reason>.*?) - at `\$\.?(?P<field>.*)`", re.DOTALL)
_FIELD: Final = re.compile(r"Object (?:contains unknown|missing required) field `(?P<field>.*)`", re.DOTALL)
_QUOTED: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_S: Final = 100 * 366 * 86_400
_LATEST_NS: Final = 2**63 - 1

Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=_LONGEST_S)]
_T = TypeVar("_T")


class Rate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As ``[keys.NAME.rate]``."""

    requests: int | None = None
    tokens: int | None = None
    window_s: float = 60.0
    max_queue: int = 0
    max_wait_s: float = 30.0


class Budget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the limits in each window."""

    window: KeyWindow
    limit_usd: Decimal | None = None
    """A string, or a number that is read digit by digit; at most nine decimals."""
    limit_tokens: int | None = None


class Changes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What isn't named stays as it is. None takes a restriction away."""

    team: str | UnsetType | None = UNSET
    tags: dict[str, str] | UnsetType | None = UNSET
    routes: tuple[str, ...] | UnsetType | None = UNSET
    models: tuple[str, ...] | UnsetType | None = UNSET
    rate: Rate | UnsetType | None = UNSET
    budgets: tuple[Budget, ...] | UnsetType | None = UNSET
    expires_in_s: Seconds | UnsetType | None = UNSET
    """From now."""
    expires_at: str | UnsetType | None = UNSET
    """ISO 8601 with its zone. One of the two, or none."""


class NewKey(Changes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    admin: bool = False


class Rotation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    grace_s: Seconds = 86_400.0
    """How long the older texts go on."""


def read_form(body: bytes, form: type[_T]) -> _T:
    """
    Raises:
        InvalidRequest: it isn't such a form; names the field and says why.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=form)
    except msgspec.ValidationError as error:
        reason, field = _placed(str(error))
        raise InvalidRequest(f"{field}: {reason}" if field else reason, param=field or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is no JSON: {error}"[:_QUOTED]) from None


def limits_of(form: Changes, now_ns: int) -> KeyLimits:
    """A new key's.

    Raises:
        InvalidRequest: as for :func:`read_form`; also where the limits of an admin key are not empty.
    """
    return changed(KeyLimits(), form, now_ns)


def changed(limits: KeyLimits, form: Changes, now_ns: int) -> KeyLimits:
    """``limits`` with what the form names.

    Raises:
        InvalidRequest: as for :func:`read_form`.
    """
    given = {
        name: read(value)
        for name, read in _READERS.items()
        if (value := getattr(form, name)) is not UNSET
    }  # fmt: skip
    if form.expires_at is not UNSET and form.expires_in_s is not UNSET:
        raise _wrong("expires_in_s", "expires_at stands there as well: give one of them")
    if form.expires_in_s is not UNSET:
        given["expires_ns"] = None if form.expires_in_s is None else now_ns + int(form.expires_in_s * 10**9)
    elif form.expires_at is not UNSET:
        given["expires_ns"] = None if form.expires_at is None else _instant(form.expires_at)
    expires_ns = given.get("expires_ns")
    if expires_ns is not None and not now_ns < expires_ns <= _LATEST_NS:
        named = "expires_at" if form.expires_at is not UNSET else "expires_in_s"
        raise _wrong(named, "must be in the future, and before 2262")
    return msgspec.structs.replace(limits, **given)


def as_key(stored: StoredKey) -> Key:
    """A stored caller's key as the door knows it. Its SHA-256 is the newest text's."""
    limits = stored.limits
    return Key(
        name=stored.name,
        sha256=stored.texts[0].sha256,
        routes=None if limits.routes is None else frozenset(map(fold, limits.routes)),
        models=limits.models,
        team=limits.team,
        tags=limits.tags,
        rate=None if limits.rate is None else RateLimitSettings(**msgspec.structs.asdict(limits.rate)),
        budgets=tuple(_rule(stored.name, budget) for budget in limits.budgets),
    )


def told(key: StoredKey, now_ns: int, uses: Mapping[bytes, int]) -> dict[str, Any]:
    """What is told of a stored key. ``uses``: when texts were used that the store doesn't know of yet."""
    limits, state = key.limits, key.state(now_ns)
    newest, *older = (_used(text, uses) for text in key.texts)
    last_used = [ns for each in (newest, *older) if (ns := each["last_used_ns"]) is not None]
    return {
        "name": key.name,
        "id": key.id,
        "kind": key.kind,
        "source": "ledger",
        "state": state,
        "prefix": newest["prefix"],
        "team": limits.team,
        "tags": limits.tags,
        "routes": limits.routes,
        "models": limits.models,
        "rate": limits.rate,
        "budgets": [_told_budget(budget) for budget in limits.budgets],
        **_times(
            created=key.created_ns,
            expires=limits.expires_ns,
            revoked=key.revoked_ns,
            last_used=max(last_used, default=None),
        ),
        "replaced": [each for each in older if state == "active" and each["until_ns"] > now_ns],
    }


def told_of_file(key: Key) -> dict[str, Any]:
    """What is told of a key that the configuration's file has, in the same words."""
    rate = key.rate
    return {
        "name": key.name,
        "id": None,
        "kind": "caller",
        "source": "file",
        "state": "active",
        "prefix": None,
        "team": key.team,
        "tags": key.tags,
        "routes": None if key.routes is None else sorted(key.routes),
        "models": key.models,
        "rate": None if rate is None else KeyRate(**{n: getattr(rate, n) for n in KeyRate.__struct_fields__}),
        "budgets": [],
        **_times(created=None, expires=None, revoked=None, last_used=None),
        "replaced": [],
    }


def _tags(value: dict[str, str] | None) -> dict[str, str]:
    return {} if value is None else _checked("tags", fields.labels, value)


def _team(value: str | None) -> str | None:
    return None if value is None else _checked("team", fields.label, value)


def _models(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return tuple(_checked(f"models[{place}]", fields.pattern, each) for place, each in enumerate(value))


def _rate(value: Rate | None) -> KeyRate | None:
    if value is None:
        return None
    if value.requests is None and value.tokens is None:
        raise _wrong("rate", "limits nothing: give requests or tokens, or null for none")
    given = msgspec.structs.asdict(value)
    try:
        RateLimitSettings(**given)
    except ValueError as error:  # its message begins with the setting's name
        name, _, reason = str(error).partition(" ")
        raise _wrong(f"rate.{name}", reason) from None
    return KeyRate(**given)


def _budgets(value: tuple[Budget, ...] | None) -> tuple[KeyBudget, ...]:
    made = [_budget(f"budgets[{place}]", each) for place, each in enumerate(value or ())]
    for place, each in enumerate(made):
        if _unit(each) in map(_unit, made[:place]):
            raise _wrong(f"budgets[{place}]", "has the window and the unit of another one")
    return tuple(made)


def _budget(path: str, budget: Budget) -> KeyBudget:
    made = KeyBudget(
        window=budget.window,
        limit_nano=None if budget.limit_usd is None else _nano(f"{path}.limit_usd", budget.limit_usd),
        limit_tokens=budget.limit_tokens,
    )
    try:
        _rule("any", made)
    except ValueError as error:
        raise _wrong(path, str(error)) from None
    return made


def _nano(path: str, usd: Decimal) -> int:
    if not usd.is_finite() or not 0 <= usd <= to_usd(MOST_NANO):
        raise _wrong(path, f"must be from 0 to {to_usd(MOST_NANO):f} dollars")
    nano = to_nano(usd)
    if to_usd(nano) != usd:
        raise _wrong(path, "has more than nine decimals")
    return nano


def _rule(name: str, budget: KeyBudget) -> BudgetRule:
    """Its name has a space, so that it is none of the file's."""
    unit, window = _unit(budget)
    return BudgetRule(
        name=f"key {name}: {unit}, {window}",
        scope="key",
        match=(name,),
        limit_nano=budget.limit_nano,
        limit_tokens=budget.limit_tokens,
        window=budget.window,
    )


def _unit(budget: KeyBudget) -> tuple[str, str]:
    return ("usd" if budget.limit_nano is not None else "tokens", budget.window)


def _told_budget(budget: KeyBudget) -> dict[str, Any]:
    nano = budget.limit_nano
    return {
        "window": budget.window,
        "limit_usd": None if nano is None else format_usd(nano),
        "limit_tokens": budget.limit_tokens,
    }


def _used(text: KeyText, uses: Mapping[bytes, int]) -> dict[str, Any]:
    last_used_ns = max(filter(None, (text.last_used_ns, uses.get(text.sha256))), default=None)
    return {"prefix": text.prefix, **_times(until=text.until_ns, last_used=last_used_ns)}


def _times(**moments: int | None) -> dict[str, Any]:
    """Each twice: exactly, and for people."""
    said: dict[str, Any] = {}
    for name, ns in moments.items():
        said[f"{name}_ns"] = ns
        said[f"{name}_at"] = None if ns is None else _iso(ns)
    return said


def _iso(ns: int) -> str:
    return f"{_EPOCH + timedelta(seconds=ns // 10**9):%Y-%m-%dT%H:%M:%SZ}"


def _instant(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _wrong("expires_at", "must be a time such as 2026-12-31T00:00:00Z") from None
    if moment.tzinfo is None:
        raise _wrong("expires_at", "has no zone: end it with Z for UTC")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000


def _checked(path: str, check: Callable[[Any], _T], value: Any) -> _T:
    try:
        return check(value)
    except PydanticCustomError as error:
        raise _wrong(path, error.message()) from None


def _wrong(path: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{path}: {reason}", param=path)


def _placed(message: str) -> tuple[str, str]:
    """The reason and the field in what msgspec says."""
    found = _AT.fullmatch(message)
    reason, place = (message, "") if found is None else (found["reason"], found["field"])
    named = _FIELD.fullmatch(reason)
    if named is None:
        return reason[:_QUOTED], place[:_QUOTED]
    field = ".".join(filter(None, (place, named["field"])))[:_QUOTED]
    return ("is missing" if "missing" in reason else "there is no such field"), field


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "team": _team,
    "tags": _tags,
    "routes": lambda names: names,  # which there are is known where the configuration is
    "models": _models,
    "rate": _rate,
    "budgets": _budgets,
}
