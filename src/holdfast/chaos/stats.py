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
_COMBINED = 512  # kinds of attempts counted as a whole, before they are counted by each of their marks
_CONFIDENCE = 0.95
_Name = TypeVar("_Name")
_Kind = tuple[str, str, str | None, str | None, int | None, str | None, tuple[str, ...]]
"""Wire, operation, model, rule, status, end, faults."""


class _Recent:
    """What happened in each tenth of a second of the last minute."""

    __slots__ = ("_slots", "_width")

    def __init__(self, width: int) -> None:
        self._width = width
        self._slots: deque[list[int]] = deque(maxlen=_SLOTS)

    def at(self, at_ns: int) -> list[int]:
        """The counts of that time, to be added to: they begin at index 1."""
        slot = at_ns // _SLOT_NS
        slots = self._slots
        if slots and slots[-1][0] >= slot:  # what was read a little earlier than another may be told later
            return slots[-1]
        counts = [slot] + [0] * self._width
        slots.append(counts)
        return counts

    def per_second(self, index: int, total: int, since_ns: int, now_ns: int) -> dict[str, float]:
        """Over whole slots that are past, so that the one that runs doesn't pull a rate down."""
        now = now_ns // _SLOT_NS
        age = max(1, now - since_ns // _SLOT_NS)
        told = {}
        for seconds in WINDOWS_S:
            length = min(seconds * _SLOTS_PER_S, age)
            amount = sum(counts[index] for counts in self._slots if now - length <= counts[0] < now)
            told[f"{seconds}s"] = amount * _SLOTS_PER_S / length
        told["since_reset"] = total / max((now_ns - since_ns) / 1e9, 1e-3)
        return told


class Stats:
    """Counts by what attempts were and how they ended. Not safe by itself: the journal calls it under its lock."""

    def __init__(self, now_ns: int) -> None:
        self.reset(now_ns)

    def reset(self, now_ns: int) -> None:
        """Begin anew at that monotonic time. What runs now isn't counted when it ends."""
        self._since_ns = now_ns
        self._running: dict[int, Entry] = {}
        self._arrivals = 0
        self._ended = self._tokens = self._bytes = 0
        self._prompt = self._completion = self._cached = self._reasoning = 0
        self._arrivals_recent = _Recent(1)
        self._ends_recent = _Recent(3)
        self._first_token = Sketch()
        self._whole = Sketch()
        self._combined: dict[_Kind, int] = {}
        self._kinds = _Kinds()

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of those that run now (and arrived after the last reset)."""
        return tuple(self._running)

    def arrived(self, entry: Entry) -> None:
        self._running[entry.seq] = entry
        self._arrivals += 1
        self._arrivals_recent.at(entry.arrived_ns)[1] += 1

    def ended(self, entry: Entry, now_ns: int) -> None:
        if self._running.pop(entry.seq, None) is None:  # it arrived before a reset
            return
        tokens, size, usage = entry.tokens, entry.bytes_sent, entry.usage
        self._ended += 1
        self._tokens += tokens
        self._bytes += size
        recent = self._ends_recent.at(now_ns)
        recent[1] += 1
        recent[2] += tokens
        recent[3] += size
        self._whole.add(now_ns - entry.arrived_ns)
        if entry.first_token_ns is not None:
            self._first_token.add(entry.first_token_ns - entry.arrived_ns)
        if usage.prompt_tokens or usage.completion_tokens:
            self._prompt += usage.prompt_tokens
            self._completion += usage.completion_tokens
            self._cached += usage.cached_tokens
            self._reasoning += usage.reasoning_tokens
        kind = _kind(entry)
        combined = self._combined
        if kind in combined:
            combined[kind] += 1
        else:
            if len(combined) >= _COMBINED:
                self._kinds.take(combined)
            combined[kind] = 1

    def told(self, now_ns: int, *, shares: bool = True) -> dict[str, Any]:
        """All of it. ``shares``: with the intervals that the observed shares of faults stand for.

        Those that run are in the counts by kind, in bytes and tokens; rates of bytes and tokens know them when they end.
        """
        self._kinds.take(self._combined)
        kinds = self._kinds.copy()
        for entry in self._running.values():
            kinds.add(_kind(entry), 1)
        running = self._running.values()
        told: dict[str, Any] = {
            "now_ns": now_ns,
            "since_reset_s": (now_ns - self._since_ns) / 1e9,
            "attempts": self._arrivals,
            "running": len(running),
            "ended": self._ended,
            "by_end": kinds.ends,
            "by_status": kinds.by_status(),
            "by_status_class": kinds.by_status_class(),
            "by_wire": kinds.wires,
            "by_operation": kinds.operations,
            "by_model": kinds.models,
            "by_rule": kinds.rules,
            "by_fault": kinds.by_fault(),
            "bytes_sent": self._bytes + sum(entry.bytes_sent for entry in running),
            "tokens_served": self._tokens + sum(entry.tokens for entry in running),
            "prompt_tokens_billed": self._prompt,
            "completion_tokens_billed": self._completion,
            "cached_tokens_billed": self._cached,
            "reasoning_tokens_billed": self._reasoning,
            "per_second": {
                name: recent.per_second(index, total, self._since_ns, now_ns)
                for name, recent, index, total in (
                    ("arrived", self._arrivals_recent, 1, self._arrivals),
                    ("ended", self._ends_recent, 1, self._ended),
                    ("tokens", self._ends_recent, 2, self._tokens),
                    ("bytes", self._ends_recent, 3, self._bytes),
                )
            },
            "first_token_s": self._first_token.told(),
            "duration_s": self._whole.told(),
        }
        if shares:
            told["shares"] = kinds.shares()
        return told


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

    def take(self, combined: dict[_Kind, int]) -> None:
        """Count all of these, and empty them."""
        for kind, n in combined.items():
            self.add(kind, n)
        combined.clear()

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
