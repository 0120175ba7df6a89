"""What a budget says: whose spending it limits, how much of it, and in which window.

Values only; what was spent is :mod:`holdfast.money.account`'s.
"""

from __future__ import annotations

import re
from fnmatch import translate
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta

from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MOST_NANO", "MOST_TOKENS", "Amount", "BudgetRule", "Measure", "Scope", "Subject", "WindowName"]

Scope = Literal["all", "key", "session", "team", "model", "tag"]
"""Whose spending is counted together."""
WindowName = Literal["session", "hour", "day", "month", "forever"]
"""``hour`` slides; ``day`` and ``month`` are UTC's calendar; ``session`` and ``forever`` never free anything."""
Measure = Literal["usd", "tokens"]

SCOPES: Final[tuple[str, ...]] = get_args(Scope)
WINDOWS: Final[tuple[str, ...]] = get_args(WindowName)

MOST_NANO: Final = 10**18
"""A thousand million dollars: more is a slip of the pen, and sums must fit into 64 bits."""
MOST_TOKENS: Final = 10**15


class Amount(NamedTuple):
    """What an attempt may cost, or did."""

    nano: int | None
    """Nano-dollars; None: nobody knows the price."""
    tokens: int | None
    """Of input and output together; None: nobody knows how many it may be."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Whose request it is, as budgets see it."""

    key: str
    model: str
    """As asked for, without regard to case."""
    session: str | None = None
    team: str | None = None
    tags: Mapping[str, str] = {}  # msgspec copies an empty mutable default for each instance


class BudgetRule(Settings, frozen=True, kw_only=True, dict=True):
    """One budget. Exactly one of ``limit_nano`` and ``limit_tokens`` is set."""

    name: str
    scope: Scope = "all"
    tag: str = ""
    """Of ``scope = "tag"``: which tag's values are told apart."""
    match: tuple[str, ...] = ()
    """Patterns (``*`` and ``?``) of the keys, sessions, teams, models or tag values that it holds for; empty: each."""
    limit_nano: Annotated[int, Meta(ge=0, le=MOST_NANO)] | None = None
    limit_tokens: Annotated[int, Meta(ge=0, le=MOST_TOKENS)] | None = None
    window: WindowName = "month"
    hard: bool = True
    """Refuses what would pass it; otherwise it only warns."""
    warn_at: Annotated[float, Meta(ge=0.01, le=1)] = 0.8
    """The share of it from which callers are warned."""

    def check(self) -> None:
        if (self.limit_nano is None) == (self.limit_tokens is None):
            raise ValueError("limit_usd or limit_tokens must be set, one of them")
        if (self.window == "session") != (self.scope == "session"):
            raise ValueError('window "session" and scope "session" go together')
        if (self.scope == "tag") != bool(self.tag):
            raise ValueError('scope "tag" must name its tag, as in "tag:project"')

    @cached_property
    def measure(self) -> Measure:
        return "usd" if self.limit_nano is not None else "tokens"

    @cached_property
    def accounts(self) -> str:
        """How the keys of its accounts begin. A budget whose unit or window is changed begins anew: its old amounts would be
        read as what they aren't."""
        return f"{self.name}:{self.measure}:{self.window}:"

    @cached_property
    def _place(self) -> int:
        return 0 if self.limit_nano is not None else 1

    @cached_property
    def limit(self) -> int:
        """In nano-dollars or tokens."""
        return self.limit_nano if self.limit_nano is not None else self.limit_tokens or 0

    @cached_property
    def warn_from(self) -> int:
        """The first amount that is warned of, exactly: shares are read as they were written, not as binary fractions."""
        return -(-self.limit * round(self.warn_at * 10**9) // 10**9)

    @cached_property
    def of_a_key(self) -> bool:
        """It is one key's own."""
        return self.scope == "key" and len(self.match) == 1 and not set("*?[") & set(self.match[0])

    def subject_of(self, subject: Subject) -> str | None:
        """Under which name ``subject``'s spending is counted here; None: it isn't."""
        name = _NAMES[self.scope](self, subject)
        if self.match and name is not None and not self._matches(name):
            return None
        return name

    def counts(self, amount: Amount) -> int | None:
        """The part of ``amount`` that this budget is about."""
        return amount[self._place]

    def _matches(self, name: str) -> bool:
        return self._pattern.fullmatch(name.casefold()) is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(translate(pattern.casefold()) for pattern in self.match))


def _of_session(_: BudgetRule, subject: Subject) -> str | None:
    # Two keys may use one id for two sessions.
    return None if subject.session is None else f"{subject.key}/{subject.session}"


_NAMES: Final[dict[str, Callable[[BudgetRule, Subject], str | None]]] = {
    "all": lambda _, __: "",
    "key": lambda _, subject: subject.key,
    "session": _of_session,
    "team": lambda _, subject: subject.team,
    "model": lambda _, subject: subject.model.casefold(),
    "tag": lambda rule, subject: subject.tags.get(rule.tag),
}
"""Under which name a subject's spending is counted, by scope."""
