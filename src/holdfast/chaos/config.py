"""What a chaos provider is told: strict, so that a misspelt name can't pass as a healthy provider.

The command line goes before the file, and the file before the preset: tables are merged name by name, lists are replaced.
"""

import re
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from holdfast.chaos import presets
from holdfast.chaos.capacity import Capacity
from holdfast.chaos.errors import ChaosError, nearest
from holdfast.chaos.limits import Bytes, Count, Positive
from holdfast.chaos.rate_limits import Limits
from holdfast.chaos.realtime.settings import RealtimeSettings
from holdfast.chaos.rules import Rules
from holdfast.chaos.script import Script, parse, rates
from holdfast.chaos.settings import AnswerSettings, Pace
from holdfast.chaos.timeline import Window

__all__ = ["FIXED", "ChaosConfig", "merge"]

FIXED = ("clock", "journal_bytes", "journal_entries", "journal_file", "max_keys", "realtime")
"""What can't change while a server runs."""
_KEPT = (*FIXED, "admin_token", "api_keys", "banks", "body_keep", "max_body", "models", "seed", "text_keep")
"""What a preset doesn't touch in a server that runs."""
_PATH = re.compile(r" - at `(key` in `)?\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_ANY = AnswerSettings()


class ChaosConfig(msgspec.Struct, frozen=True):
    """All settings, with their defaults. Scripts are compact text or data (see :mod:`holdfast.chaos.script`)."""

    preset: str | None = None
    """Settings to begin with (``holdfast chaos presets``); what is said here goes over them."""
    seed: int = 0
    tokens: Count = 20
    """Tokens of an answer where neither script nor request says otherwise."""
    pace: Pace = Pace()
    """How fast answers come where a script doesn't say."""
    default: Any = "ok"
    """The script for attempts that nothing below names."""
    rates: dict[str, Any] = {}
    """Step -> its exact share of these attempts in percent, or ``{pct = 5, burst = 8, with = "retry-after=1"}``; spoils
    the default's healthy steps. Names may end in ``_pct``."""
    scripts: dict[str, Any] = {}
    """Model name or shell pattern (any case) -> script. An exact name wins; else the first pattern that fits."""
    routes: dict[str, Any] = {}
    """Path or shell pattern -> script; goes before ``scripts``."""
    keys: dict[str, Any] = {}
    """API key -> script; goes before ``routes``. Where ``api_keys`` are asked for, these are let in too."""
    markers: dict[str, Any] = {}
    """Text in the last user message -> script; goes before ``keys``."""
    timeline: tuple[Window, ...] = ()
    """What happens when; goes before all of these, but not before ``[[chaos: SCRIPT]]`` in the last user message."""
    capacity: Capacity | None = None
    """How many attempts are served at once; none: no bound."""
    limits: Limits | None = None
    """Requests and tokens per minute; none: no bound."""
    banks: dict[str, str] = {}
    """Name -> JSONL file of recorded answers, for ``bank=NAME``."""
    realtime: RealtimeSettings = RealtimeSettings()
    """Bounds of realtime sessions."""
    clock: Literal["real", "hand"] = "real"
    """``hand``: time stands still, but for ``POST /admin/clock``; then timelines, limits and pauses replay too."""
    models: tuple[str, ...] = ("chaos-1",)
    """Names for ``GET /v1/models``; any model is served."""
    api_keys: tuple[str, ...] = ()
    """Keys that are let in, each where its provider looks for it; none: all are."""
    admin_token: str | None = None
    """Bearer token for ``/admin/…``; None: none is asked."""
    journal_entries: Positive = 10_000
    """The journal keeps the newest so many attempts …"""
    journal_bytes: Bytes = 67_108_864
    """… and of those only the newest whose bodies and texts fit here."""
    body_keep: Count = 65_536
    """Bytes of a request's body kept in the journal."""
    text_keep: Count = 1_000_000
    """Characters of an answer's text kept in the journal."""
    max_body: Bytes = 67_108_864
    """A larger request is answered with 413."""
    journal_file: str | None = None
    """Attempts are appended to this JSONL file as they end."""
    max_keys: Positive = 200_000
    """Script keys whose attempts are counted; beyond it the oldest starts again at attempt 1."""

    def __post_init__(self) -> None:
        # Scripts are read when the configuration is made: a server never starts with one that can't be meant.
        # The steps are named here, since a whole set of rules can't tell which table a script came from.
        self._check("default", self.default)
        for table in ("scripts", "routes", "keys", "markers"):
            for name, source in getattr(self, table).items():
                self._check(f"{table}.{'***' if table == 'keys' else name}", source)
        self._check_capacity("capacity", self.capacity)
        _check_rates("rates", self.rates)
        for i, window in enumerate(self.timeline):
            if window.script is not None:
                self._check(f"timeline[{i}].script", window.script)
            _check_rates(f"timeline[{i}].rates", window.rates)
            self._check_capacity(f"timeline[{i}].capacity", window.capacity)
        Rules(self)

    def _check(self, name: str, source: Any) -> Script:
        try:
            script = parse(source)
            for step in script.steps:
                for one in (step, *(step.mix.alternatives if step.mix is not None else ())):
                    bank = one.answer.bank
                    if bank is not None and bank not in self.banks:
                        raise ChaosError(f"unknown bank {bank!r}: {nearest(bank, self.banks)}")
        except ChaosError as error:
            raise ChaosError(f"{name}: {error}") from None
        return script

    def _check_capacity(self, name: str, capacity: Capacity | None) -> None:
        if capacity is None:
            return
        first, *more = self._check(f"{name}.beyond", capacity.beyond).steps
        if more:
            raise ChaosError(f"{name}.beyond: one step is for all who find the queue full, not several")
        if not all(
            step.faults for step in (first, *(first.mix.alternatives if first.mix is not None else ()))
        ):
            raise ChaosError(f"{name}.beyond: a healthy answer is no refusal: name a status or a fault")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """From decoded TOML or JSON, over the preset that it may name. Raises :class:`ChaosError` with the setting."""
        preset = values.get("preset")
        if preset is not None:
            values = merge(presets.load(preset), values)
        if unknown := [name for name in values if name not in cls.__struct_fields__]:
            raise ChaosError(f"unknown setting {unknown[0]!r}: {nearest(unknown[0], cls.__struct_fields__)}")
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise _with_path(error) from None

    @classmethod
    def load(cls, path: str | Path, over: dict[str, Any] | None = None) -> Self:
        """From a TOML file, with ``over`` over it. Raises :class:`ChaosError`, and OSError where the file can't be read."""
        table = cls.table(path)
        try:
            return cls.from_dict(merge(table, over or {}))
        except ChaosError as error:
            raise ChaosError(f"{path}: {error}") from None

    @staticmethod
    def table(path: str | Path) -> dict[str, Any]:
        """What a TOML file says: its ``[chaos]`` table, or the whole file where there is none. Raises as :meth:`load`."""
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ChaosError(f"{path}: {error}") from None
        table = values.get("chaos", values)
        if not isinstance(table, dict):
            raise ChaosError(f"{path}: chaos is no table")
        return table

    def values(self) -> dict[str, Any]:
        """All settings as data that :meth:`from_dict` takes; None stands for what the preset says and these don't."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values if self.preset is None else _with_gaps(presets.load(self.preset), values)

    def merged(self, changes: dict[str, Any]) -> Self:
        """With ``changes`` over it, as a JSON merge patch (RFC 7386): null takes a setting back to its default.

        Where they name a preset it takes the place of all that isn't the server's own. Raises :class:`ChaosError`.
        """
        values: dict[str, Any] = msgspec.to_builtins(self)
        if changes.get("preset") is not None:
            values = {name: values[name] for name in _KEPT}
        elif "preset" not in changes:
            changes = {**changes, "preset": None}  # what stands has it in already
            changed = self.from_dict(merge(values, changes))
            return msgspec.structs.replace(changed, preset=self.preset)
        return self.from_dict(merge(values, changes))

    def check_live(self, changed: "ChaosConfig") -> None:
        """Raises :class:`ChaosError` where ``changed`` can't take this one's place in a server that runs."""
        for name in FIXED:
            if getattr(self, name) != getattr(changed, name):
                raise ChaosError(f"{name} can't change while the server runs")


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``above`` over ``below``: tables name by name, all else replaced; None takes a name out.

    The names of ``above`` come first, since the first pattern that fits a model decides about it.
    """
    return _merge(_even(below), _even(above))


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name, value in above.items():
        under = below.get(name)
        if isinstance(value, dict):
            merged[name] = _merge(under if isinstance(under, dict) else {}, value)
        elif value is not None:
            merged[name] = value
    return merged | {name: value for name, value in below.items() if name not in above}


def _with_gaps(below: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """``values``, with None for each name that only ``below`` has."""
    gaps = {name: None for name in below if name not in values}
    tables = {
        name: _with_gaps(under, values[name])
        for name, under in below.items()
        if isinstance(under, dict) and isinstance(values.get(name), dict)
    }
    return {**values, **tables, **gaps}


def _even(values: dict[str, Any]) -> dict[str, Any]:
    """Shares as tables, so that a number over a table changes the share and leaves burst and settings."""
    table = values.get("rates")
    if not isinstance(table, dict):
        return values
    even = {
        str(name).removesuffix("_pct"): {"pct": share}
        if isinstance(share, int | float) and not isinstance(share, bool)
        else share
        for name, share in table.items()
    }
    return {**values, "rates": even}


def _check_rates(name: str, table: dict[str, Any]) -> None:
    try:
        rates(table, _ANY)
    except ChaosError as error:
        said = str(error)
        raise ChaosError(f"{name}{said[5:]}" if said.startswith("rates.") else f"{name}: {said}") from None


def _with_path(error: msgspec.ValidationError) -> ChaosError:
    """The message with the setting's path in front; an error of ours inside has its own."""
    if isinstance(error.__cause__, ChaosError) and not _PATH.search(str(error)):
        return ChaosError(str(error.__cause__))
    found = _PATH.search(str(error))
    path = found["path"] if found else ""
    said = _PATH.sub("", str(error))
    if unknown := _UNKNOWN.fullmatch(said):
        return ChaosError(f"{path}.{unknown[1]}: unknown setting")
    return ChaosError(f"{path}: {said}" if path else said)
