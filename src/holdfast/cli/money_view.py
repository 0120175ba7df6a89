"""What ``/admin`` tells of budgets and sessions, as it is shown."""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003  # msgspec reads the annotations at run time
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from holdfast.cli.gateway_admin import RemoteError

if TYPE_CHECKING:
    from holdfast.cli.gateway_admin import GatewayAdmin

__all__ = ["Account", "Budgets", "Session", "Sessions", "amount", "decoded", "dollars"]

T = TypeVar("T")


class Rule(msgspec.Struct):
    budget: str


class Account(msgspec.Struct):
    """One budget for one subject. Amounts are dollars or tokens, as ``unit`` says."""

    budget: str
    subject: str | None
    window: str
    unit: str
    hard: bool
    limit: Decimal | int
    spent: Decimal | int
    reserved: Decimal | int
    leased: Decimal | int | None
    """By the process that answered; None: there is only one."""
    left: Decimal | int
    used: float
    refused: int


class Budgets(msgspec.Struct):
    """What ``/admin/budgets`` tells, as far as it is shown."""

    budgets: list[Rule]
    accounts: list[Account]
    more: int


class Session(msgspec.Struct):
    id: str
    key: str
    state: str
    left_s: float
    warned: bool
    spent_usd: Decimal


class Sessions(msgspec.Struct):
    """What ``/admin/sessions`` tells, as far as it is shown."""

    enabled: bool
    sessions: list[Session]
    more: int


def decoded(gateway: GatewayAdmin, said: bytes, kind: type[T]) -> tuple[T, Any]:
    """What a gateway said: as ``kind``, and as it came. Raises RemoteError where it isn't that."""
    try:
        return msgspec.json.decode(said, type=kind), msgspec.json.decode(said)
    except (msgspec.DecodeError, RecursionError):
        raise RemoteError(f"what serves at {gateway.url} is no gateway, or one of another version") from None


def amount(of: Decimal | int, unit: str) -> str:
    return dollars(of) if unit == "usd" else f"{of:,} tokens"


def dollars(of: Decimal | int) -> str:
    """To the cent, or as exactly as it is."""
    whole, _, rest = f"{of:,.9f}".partition(".")
    return f"${whole}.{rest.rstrip('0').ljust(2, '0')}"
