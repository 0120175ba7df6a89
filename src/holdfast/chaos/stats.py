"""What was served, counted as it happens: nothing here depends on what the journal still holds.

Counts, bytes and tokens are exact. Durations are percentiles of all attempts that have ended, within 1 % (see ``sketch``).
Memory is fixed: names that callers make up are counted together beyond the first thousand.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.chaos.binomial import clopper_pearson
from holdfast.chaos.sketch import Sketch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.chaos.answer import Usage
    from holdfast.chaos.journal import Entry

__all__ = ["WINDOWS_S", "Stats"]

WINDOWS_S = (1, 10, 60)
"""Seconds that rates are told over."""
_SLOT_NS = 100_000_000
_SLOTS_PER_S = 10
_SLOTS = max(WINDOWS_S) * _SLOTS_PER_S + 1
_NAMES = 1000  # models and rules counted by name; callers make names up
_SHARES = 1024  # faults by rule; a script in a prompt may name any status
_TOLD = 100  # of them; an interval takes up to a millisecond
_OTHERS = "(others)"
_BATCH = 256  # attempts that are noted before they are counted: a third of a millisecond's work
_CONFIDENCE = 0.95
_Name = TypeVar("_Name")
_Kind = tuple[str, str, str | None, str | None, int | None, str | None, tuple[str, ...]]
"""Wire, operation, model, rule, status, end, faults."""
_End = tuple[int, int, int | None, int, int, "Usage", _Kind]
"""When; after how many ns; with the first token after how many; tokens, bytes, usage, kind."""


class _Recent:
    """How much there was in each tenth of a second of the last minute."""

    __slots__ = ("_slots", "total")

    def __init__(self) -> None:
        self.total = 0
        self._slots: deque[list[int]] = deque(maxlen=_SLOTS)

    def add(self, slots: Iterable[int], amounts: Iterable[int]) -> None:
        for slot, amount in zip(slots, amounts, strict=True):
            self.total += amount
            if self._slots and self._slots[-1][0] >= slot:  # what was read earlier may be told later
                self._slots[-1][1] += amount
            else:
                self._slots.append([slot, amount])

    def per_second(self, since_ns: int, now_ns: int) -> dict[str, float]:
        """Over whole slots that are past, so that the one that runs doesn't pull a rate down."""
        now = now_ns // _SLOT_NS
        age = max(1, now - since_ns // _SLOT_NS)
        told = {}
        for seconds in WINDOWS_S:
            length = min(seconds * _SLOTS_PER_S, age)
            amount = sum(n for slot, n in self._slots if now - length <= slot < now)
            told[f"{seconds}s"] = amount * _SLOTS_PER_S / length
        told["since_reset"] = self.total / max((now_ns - since_ns) / 1e9, 1e-3)
        return told


class Stats:
    """Counts by what attempts were and how they ended. Not safe by itself: the journal calls it under its lock.

    What happens is noted, and counted later in batches: that takes a third of the time that an attempt would pay.
    """

    def __init__(self, now_ns: int) -> None:
        self.reset(now_ns)

    def reset(self, now_ns: int) -> None:
        """Begin anew at that monotonic time. What runs now isn't counted when it ends."""
        self._since_ns = now_ns
        self._running: dict[int, Entry] = {}
        self._new_arrivals: list[int] = []
        self._new_ends: list[_End] = []
        self._arrived, self._ended, self._tokens, self._bytes = (_Recent() for _ in range(4))
        self._prompt = self._completion = self._cached = self._reasoning = 0
        self._first_token = Sketch()
        self._whole = Sketch()
        self._kinds = _Kinds()

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of those that run now (and arrived after the last reset)."""
        return tuple(self._running)

    def arrived(self, entry: Entry) -> None:
        self._running[entry.seq] = entry
        self._new_arrivals.append(entry.arrived_ns)
        if len(self._new_arrivals) >= _BATCH:
            self._count()

    def ended(self, entry: Entry, now_ns: int) -> None:
        if self._running.pop(entry.seq, None) is None:  # it arrived before a reset
            return
        self._new_ends.append(
            (
                now_ns,
                now_ns - entry.arrived_ns,
                None if entry.first_token_ns is None else entry.first_token_ns - entry.arrived_ns,
                entry.tokens,
                entry.bytes_sent,
                entry.usage,
                _kind(entry),
            )
        )
        if len(self._new_ends) >= _BATCH:
            self._count()

    def _count(self) -> None:
        """Count what was noted."""
        if self._new_arrivals:
            self._arrived.add(*_by_slot(self._new_arrivals, [1] * len(self._new_arrivals)))
            self._new_arrivals.clear()
        if not self._new_ends:
            return
        at, whole, first, tokens, size, usages, kinds = zip(*self._new_ends, strict=True)
        self._new_ends.clear()
        self._ended.add(*_by_slot(at, [1] * len(at)))
        self._tokens.add(*_by_slot(at, tokens))
        self._bytes.add(*_by_slot(at, size))
        self._whole.add(whole)
        self._first_token.add([ns for ns in first if ns is not None])
        for usage in usages:
            if usage.prompt_tokens or usage.completion_tokens:
                self._prompt += usage.prompt_tokens
                self._completion += usage.completion_tokens
                self._cached += usage.cached_tokens
                self._reasoning += usage.reasoning_tokens
        for kind, n in Counter(kinds).items():
            self._kinds.add(kind, n)

    def told(self, now_ns: int, *, shares: bool = True) -> dict[str, Any]:
        """All of it. ``shares``: with the intervals that the observed shares of faults stand for.

        Those that run are in the counts by kind, in bytes and tokens; rates of bytes and tokens know them when they end.
        """
        self._count()
        kinds = self._kinds.copy()
        for entry in self._running.values():
            kinds.add(_kind(entry), 1)
        running = self._running.values()
        told: dict[str, Any] = {
            "now_ns": now_ns,
            "since_reset_s": (now_ns - self._since_ns) / 1e9,
            "attempts": self._arrived.total,
            "running": len(running),
            "ended": self._ended.total,
            "by_end": kinds.ends,
            "by_status": kinds.by_status(),
            "by_status_class": kinds.by_status_class(),
            "by_wire": kinds.wires,
            "by_operation": kinds.operations,
            "by_model": kinds.models,
            "by_rule": kinds.rules,
            "by_fault": kinds.by_fault(),
            "bytes_sent": self._bytes.total + sum(entry.bytes_sent for entry in running),
            "tokens_served": self._tokens.total + sum(entry.tokens for entry in running),
            "prompt_tokens_billed": self._prompt,
            "completion_tokens_billed": self._completion,
            "cached_tokens_billed": self._cached,
            "reasoning_tokens_billed": self._reasoning,
            "per_second": {
                name: recent.per_second(self._since_ns, now_ns)
                for name, recent in (
                    ("arrived", self._arrived),
                    ("ended", self._ended),
                    ("tokens", self._tokens),
                    ("bytes", self._bytes),
                )
            },
            "first_token_s": self._first_token.told(),
            "duration_s": self._whole.told(),
        }
        if shares:
            told["shares"] = kinds.shares()
        return told


def _by_slot(at_ns: Sequence[int], amounts: Sequence[int]) -> tuple[list[int], list[int]]:
    """The slots of these times, and how much there is in each."""
    slots: list[int] = []
    sums: list[int] = []
    last = -1
    for ns, amount in zip(at_ns, amounts, strict=True):
        slot = ns // _SLOT_NS
        if slot == last:
            sums[-1] += amount
        else:
            slots.append(slot)
            sums.append(amount)
            last = slot
    return slots, sums


def _kind(entry: Entry) -> _Kind:
    faults = tuple(entry.faults) if entry.faults else ()
    return entry.wire, entry.operation, entry.model, entry.rule, entry.status, entry.end, faults


class _Kinds:
    """How many attempts have each mark."""

    def __init__(self) -> None:
        self.ends: dict[str, int] = {}
        self.wires: dict[str, int] = {}
        self.operations: dict[str, int] = {}
        self.models: dict[str, int] = {}
        self.rules: dict[str, int] = {}
        self._statuses: dict[int | None, int] = {}
        self._faults: dict[tuple[str, str], int] = {}
        """By rule and fault."""

    def copy(self) -> _Kinds:
        kinds = _Kinds()
        for name, counts in vars(self).items():
            setattr(kinds, name, dict(counts))
        return kinds

    def add(self, kind: _Kind, n: int) -> None:
        wire, operation, model, rule, status, end, faults = kind
        _count(self.wires, wire, n)
        _count(self.operations, operation, n)
        if end is not None:
            _count(self.ends, end, n)
        if status is not None or end is not None:  # else the head is yet to come
            _count(self._statuses, status, n)
        if model is not None:
            _count_name(self.models, model, n)
        if rule is None:  # refused before anything decided about it
            return
        rule = _count_name(self.rules, rule, n)
        for name in set(faults):
            fault = f"status {status}" if name == "status" and status is not None else name
            pair = (rule, fault)
            if pair not in self._faults and len(self._faults) >= _SHARES:
                pair = (rule, _OTHERS)
            _count(self._faults, pair, n)

    def by_status(self) -> dict[str, int]:
        return {"none" if status is None else str(status): n for status, n in self._statuses.items()}

    def by_status_class(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for status, n in self._statuses.items():
            counts["none" if status is None else f"{status // 100}xx"] += n
        return counts

    def by_fault(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for (_, fault), n in self._faults.items():
            counts[fault] += n
        return counts

    def shares(self) -> list[dict[str, Any]]:
        """Of each fault, by the rule that asked for it, and over all rules: its share of the attempts, with its interval.

        The most frequent hundred, where there are more.
        """
        total = sum(self.rules.values())
        rows = [("(all)", fault, n, total) for fault, n in self.by_fault().items()]
        if len(self.rules) > 1:
            rows += [(rule, fault, n, self.rules[rule]) for (rule, fault), n in self._faults.items()]
        told = []
        for rule, fault, count, of in sorted(sorted(rows, key=_count_of, reverse=True)[:_TOLD]):
            low, high = clopper_pearson(count, of, _CONFIDENCE)
            told.append(
                {
                    "rule": rule,
                    "fault": fault,
                    "count": count,
                    "of": of,
                    "pct": 100 * count / of,
                    "low_pct": 100 * low,
                    "high_pct": 100 * high,
                    "confidence": _CONFIDENCE,
                }
            )
        return told


def _count_of(row: tuple[str, str, int, int]) -> int:
    return row[2]


def _count(counts: dict[_Name, int], name: _Name, n: int) -> None:
    counts[name] = counts.get(name, 0) + n


def _count_name(counts: dict[str, int], name: str, n: int) -> str:
    """Count ``name``, or where there are too many, all the others; returns what was counted."""
    if name not in counts and len(counts) >= _NAMES:
        name = _OTHERS
    _count(counts, name, n)
    return name
