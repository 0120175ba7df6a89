"""Scripts: what happens at a key's first attempt, its second, and so on. The last step repeats.

Compact form: steps are separated by ``;``, words by spaces. A word is ``ok``, a status (``429``), the name of a fault, of
an error (``insufficient_quota``), of a setting of the answer that is true (``echo``), ``xN`` (the step holds for N
attempts) or ``name=value``: a fault with its main setting (``cut=reset``), a setting of the answer (``tokens=40``), or of
the nearest fault to its left that has it. ``-`` and ``_`` are the same in names; values with spaces go in quotes;
``header.NAME=VALUE`` sets a header of a status::

    429 retry-after=2; tokens=40 cut=reset; ok

A step may leave to chance what happens: alternatives, separated by ``|``, each with its share of the attempts (and
``burst=N``: it comes N times in a row). The one without a share, which stands last, is for all others; its settings of the
answer hold for every alternative that doesn't say its own::

    5% 429 retry-after=1 burst=8 | 0.5% reset | tokens=40

The same as data, in TOML or JSON::

    [{"status": {"code": 429, "retry_after": 2}}, {"tokens": 40, "cut": "reset"}, "ok"]
    {"rates": {"429 retry-after=1": {"pct": 5, "burst": 8}, "reset": 0.5}, "tokens": 40}
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from holdfast.chaos.errors import ChaosError, nearest
from holdfast.chaos.faults import FAULTS, Fault, FaultSettings
from holdfast.chaos.limits import Positive
from holdfast.chaos.mix import Mix, Share, share
from holdfast.chaos.settings import AnswerSettings, Pace
from holdfast.chaos.wire.errors import NAMED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Script", "Step", "parse", "rates", "with_rates"]

_ANSWER = frozenset(AnswerSettings.__struct_fields__)
_FLAGS = frozenset(name for name in _ANSWER if isinstance(getattr(AnswerSettings(), name), bool))
_TOKEN = re.compile(r"""(?:[^\s;|"']|"(?:\\.|[^"\\])*"|'[^']*')+|[;|]""")
_QUOTED = re.compile(r""""((?:\\.|[^"\\])*)"|'([^']*)'""")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,12})?)%")
_TIMES = re.compile(r"x([1-9]\d{0,6})")
_MOST_STEPS = 10_000
_S = TypeVar("_S", bound=msgspec.Struct)
_FULL_SPEED = AnswerSettings()


class Step(msgspec.Struct, frozen=True):
    """What one attempt gets."""

    answer: AnswerSettings = AnswerSettings()
    faults: tuple[tuple[Fault, FaultSettings], ...] = ()
    times: int = 1
    """Attempts that it holds for, one after the other."""
    mix: Mix | None = None
    """Steps that chance may put in its place."""

    def chosen(self, seed: int, key: str, attempt: int, scale: float = 1.0) -> Step:
        """This step, or what chance makes of it for that attempt; all shares times ``scale``."""
        if self.mix is None:
            return self
        return self.mix.choose(seed, key, attempt, scale) or self


class Script:
    """Steps by attempt number."""

    __slots__ = ("_ends", "source", "steps")

    def __init__(self, steps: Sequence[Step], source: Any) -> None:
        if not steps:
            raise ChaosError("a script has at least one step")
        if len(steps) > _MOST_STEPS:
            raise ChaosError(f"a script has at most {_MOST_STEPS} steps")
        self.steps = tuple(steps)
        self.source = source
        """As it was given, for ``/admin/config``."""
        self._ends = list(accumulate(step.times for step in steps))

    def step(self, attempt: int) -> Step:
        """The step for attempt number ``attempt``, from 1."""
        return self.steps[min(bisect_right(self._ends, attempt - 1), len(self.steps) - 1)]


def parse(source: str | Sequence[Any] | dict[str, Any] | Script, defaults: Pace = _FULL_SPEED) -> Script:
    """A script from its compact form or from data, with the pace where it doesn't say its own.

    Raises :class:`ChaosError` that names the step and the setting.
    """
    if isinstance(source, Script):
        return source
    base = (
        defaults
        if isinstance(defaults, AnswerSettings)
        else AnswerSettings(**msgspec.structs.asdict(defaults))
    )
    if isinstance(source, str):
        return Script([_numbered(i, words, base) for i, words in enumerate(_split(source), 1)], source)
    if isinstance(source, dict):
        source = [source]
    if not isinstance(source, list | tuple):
        raise ChaosError(f"a script is text, a step or a list of steps, not {type(source).__name__}")
    return Script([_numbered(i, step, base) for i, step in enumerate(source, 1)], source)


def rates(source: Mapping[str, Any], base: AnswerSettings) -> Mix:
    """Alternatives from a table of steps and their shares, such as ``{"429 retry-after=1": 5}``; ``base`` is where a
    step doesn't say its own. Raises :class:`ChaosError` that names the step."""
    alternatives = []
    for name, given in source.items():
        try:
            if name.endswith("_pct") and name.removesuffix("_pct") in source:
                raise ChaosError("its share is said twice, with and without '_pct'")
            part = share(given)
            (split,) = _split(f"{name.removesuffix('_pct')} {part.settings}")
            if not name.strip():
                raise ChaosError("an empty step: write 'ok' for a healthy answer")
            if any(word == "|" or _PERCENT.fullmatch(word) for word in split):
                raise ChaosError("the share stands beside a step, not in it")
            if _repeats(split):
                raise ChaosError("'xN' holds for a step of a script, not for chance: see burst")
            alternatives.append((part, _step(split, base)))
        except (ChaosError, ValueError) as error:
            why = str(error) if isinstance(error, ChaosError) else "one step, without ';'"
            raise ChaosError(f"rates.{name}: {why}") from None
    return Mix(alternatives)


def with_rates(script: Script, table: Mapping[str, Any]) -> Script:
    """``script`` with chance over each step that is healthy and leaves nothing to chance itself."""
    mixes: dict[AnswerSettings, Mix] = {}  # a long script's steps are mostly alike

    def spoiled(step: Step) -> Step:
        if step.faults or step.mix:
            return step
        if step.answer not in mixes:
            mixes[step.answer] = rates(table, step.answer)
        return msgspec.structs.replace(step, mix=mixes[step.answer])

    return Script([spoiled(step) for step in script.steps], script.source)


def _numbered(number: int, given: Any, base: AnswerSettings) -> Step:
    try:
        if isinstance(given, str):
            words = _split(given)
            if len(words) != 1:
                raise ChaosError("one step of a list holds one step: write ';' as two list items")
            return _from_words(words[0], base)
        if isinstance(given, dict):
            return _from_table(given, base)
        if isinstance(given, list):
            return _from_words(given, base)
        raise ChaosError(f"a step is text or a table, not {type(given).__name__}")
    except ChaosError as error:
        raise ChaosError(f"step {number}: {error}") from None


def _split(text: str) -> list[list[str]]:
    """The words of each step."""
    steps: list[list[str]] = [[]]
    at = 0
    for found in _TOKEN.finditer(text):
        if gap := text[at : found.start()].strip():
            raise ChaosError(f"unclosed quote before {gap!r}")
        at = found.end()
        if found[0] == ";":
            steps.append([])
        else:
            steps[-1].append(found[0])
    if rest := text[at:].strip():
        raise ChaosError(f"unclosed quote in {rest!r}")
    if len(steps) > 1 and not steps[-1]:
        steps.pop()  # a closing ';' is no step
    return steps


def _from_words(words: list[str], base: AnswerSettings) -> Step:
    """A step, with alternatives or without."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "|":
            parts.append([])
        else:
            parts[-1].append(word)
    for part in parts:
        if not part:
            raise ChaosError("an empty step: write 'ok' for a healthy answer")
    shared = [part for part in parts if _PERCENT.fullmatch(part[0])]
    last = [part for part in parts if part not in shared]
    if not shared and len(parts) == 1:
        return _step(words, base)
    if len(last) > 1:
        raise ChaosError(
            f"all alternatives but the last begin with their share: write '5% {' '.join(last[0])}'"
        )
    if last and parts[-1] is not last[0]:
        raise ChaosError("the alternative without a share stands last: it is for all other attempts")
    step = _step(last[0], base) if last else Step(base)
    mix = Mix([_shared(part, step.answer) for part in shared])
    return msgspec.structs.replace(step, mix=mix)


def _shared(words: list[str], base: AnswerSettings) -> tuple[Share, Step]:
    """An alternative and its share."""
    pct = float(words[0][:-1])
    bursts = [word for word in words if word.startswith("burst=")]
    given = {"pct": pct, "burst": int(bursts[-1][6:])} if bursts and bursts[-1][6:].isdecimal() else None
    if bursts and given is None:
        raise ChaosError(f"{bursts[-1]!r}: a burst is a number of attempts")
    rest = [word for word in words[1:] if word not in bursts]
    if _repeats(rest):
        raise ChaosError("'xN' holds for a step, not for one of its alternatives: see burst=N")
    return share(given or pct), _step(rest or ["ok"], base)


def _repeats(words: list[str]) -> bool:
    return any(_TIMES.fullmatch(word) or word.startswith("times=") for word in words)


def _step(words: list[str], base: AnswerSettings) -> Step:
    draft = _Draft(base)
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            draft.set(_plain(name), _unquoted(value))
        else:
            draft.word(word)
    return draft.step()


def _plain(name: str) -> str:
    head, dot, rest = name.partition(".")
    return head.replace("-", "_") + dot + rest


def _unquoted(value: str) -> str:
    return _QUOTED.sub(lambda m: re.sub(r"\\(.)", r"\1", m[1]) if m[1] is not None else m[2], value)


def _from_table(table: dict[str, Any], base: AnswerSettings) -> Step:
    draft = _Draft(base)
    chance: Any = None
    for given, value in table.items():
        name = _plain(str(given))
        if name == "rates":
            chance = value
        elif name in FAULTS and isinstance(value, dict):
            draft.fault(name, {_plain(str(key)): inner for key, inner in value.items()})
        elif name in FAULTS and value is True and FAULTS[name].primary is None:
            draft.fault(name, {})
        else:
            draft.set(name, value)
    step = draft.step()
    if chance is None:
        return step
    if not isinstance(chance, dict):
        raise ChaosError('rates is a table of steps and their shares, such as {"429": 5}')
    return msgspec.structs.replace(step, mix=rates(chance, step.answer))


class _Draft:
    """A step being read."""

    def __init__(self, base: AnswerSettings) -> None:
        self._base = base
        self._answer: dict[str, Any] = {}
        self._faults: list[tuple[Fault, dict[str, Any]]] = []
        self._times = 1

    def word(self, word: str) -> None:
        name = _plain(word)
        if name == "ok":
            return
        if word.isdecimal():
            self.fault("status", {"code": word})
        elif name in FAULTS:
            self.fault(name, {})
        elif name in NAMED:
            self.fault("status", {"error": name})
        elif name in _FLAGS:
            self._answer[name] = True
        elif times := _TIMES.fullmatch(word):
            self._times = int(times[1])
        else:
            raise ChaosError(f"unknown word {word!r}: {nearest(name, [*FAULTS, *NAMED, *_FLAGS, 'ok'])}")

    def fault(self, name: str, settings: dict[str, Any]) -> None:
        if any(fault.name == name for fault, _ in self._faults):
            raise ChaosError(f"{name!r} stands twice in one step")
        self._faults.append((FAULTS[name], settings))

    def set(self, name: str, value: Any) -> None:
        head, _, rest = name.partition(".")
        if name in FAULTS:
            if (primary := FAULTS[name].primary) is None:
                raise ChaosError(f"{name!r} takes no value")
            self.fault(name, {primary: value})
        elif name in _ANSWER:
            self._answer[name] = value
        elif head == "header" and rest:
            headers: dict[str, Any] = self._owner("headers", name).setdefault("headers", {})
            headers[rest.lower()] = value
        elif name == "times":
            self._times = _times(value)
        else:
            self._owner(name, name)[name] = value

    def _owner(self, setting: str, name: str) -> dict[str, Any]:
        """The settings of the nearest fault to the left that has ``setting``."""
        fitting = (s for fault, s in reversed(self._faults) if setting in fault.settings.__struct_fields__)
        owner: dict[str, Any] | None = next(fitting, None)
        if owner is not None:
            return owner
        here = {field for fault, _ in self._faults for field in fault.settings.__struct_fields__}
        raise ChaosError(f"unknown setting {name!r}: {nearest(name, _ANSWER | here | set(FAULTS))}")

    def step(self) -> Step:
        given = _convert(self._answer, AnswerSettings, "")
        own = {name: getattr(given, name) for name in self._answer}
        answer = self._base.over(own) if own else self._base
        faults = tuple(
            (fault, _convert(settings, fault.settings, f"{fault.name}.")) for fault, settings in self._faults
        )
        return Step(answer, faults, self._times)


def _times(value: Any) -> int:
    try:
        return msgspec.convert(value, Positive, strict=False)
    except msgspec.ValidationError as error:
        raise ChaosError(f"times: {error}") from None


_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


def _convert(values: dict[str, Any], kind: type[_S], prefix: str) -> _S:
    if unknown := [name for name in values if name not in kind.__struct_fields__]:
        raise ChaosError(
            f"unknown setting {prefix + unknown[0]!r}: {nearest(unknown[0], kind.__struct_fields__)}"
        )
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        found = _PATH.search(str(error))
        where = prefix + (found["path"] if found else "")
        raise ChaosError(f"{where.rstrip('.') or 'step'}: {_PATH.sub('', str(error))}") from None
