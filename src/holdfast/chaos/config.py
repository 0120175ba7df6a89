"""What a chaos provider is told: strict, so that a misspelt name can't pass as a healthy provider."""

import tomllib
from pathlib import Path
from typing import Any, Self

import msgspec

from holdfast.chaos.errors import ChaosError, nearest
from holdfast.chaos.limits import Bytes, Count, Positive
from holdfast.chaos.script import Script, parse

__all__ = ["ChaosConfig"]


class ChaosConfig(msgspec.Struct, frozen=True):
    """All settings, with their defaults. Scripts are compact text or data (see :mod:`holdfast.chaos.script`)."""

    seed: int = 0
    tokens: Count = 20
    """Tokens of an answer where neither script nor request says otherwise."""
    default: Any = "ok"
    """The script for models that no pattern names."""
    scripts: dict[str, Any] = {}
    """Model name or shell pattern (any case) -> script. An exact name wins; else the first pattern that fits."""
    markers: dict[str, Any] = {}
    """Text in the last user message -> script; goes before ``scripts``. ``[[chaos: SCRIPT]]`` there goes before both."""
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
    max_keys: Positive = 200_000
    """Script keys whose attempts are counted; beyond it the oldest starts again at attempt 1."""

    def __post_init__(self) -> None:
        # Scripts are read when the configuration is made: a server never starts with one that can't be meant.
        for name, source in {"default": self.default}.items():
            _at(name, source)
        for table in ("scripts", "markers"):
            for name, source in getattr(self, table).items():
                _at(f"{table}.{name}", source)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """From decoded TOML or JSON. Raises :class:`ChaosError`, which names the setting."""
        if unknown := [name for name in values if name not in cls.__struct_fields__]:
            raise ChaosError(f"unknown setting {unknown[0]!r}: {nearest(unknown[0], cls.__struct_fields__)}")
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise ChaosError(str(error)) from None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """From a TOML file: its ``[chaos]`` table, or the whole file where there is none.

        Raises :class:`ChaosError`, and OSError where the file can't be read.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ChaosError(f"{path}: {error}") from None
        table = values.get("chaos", values)
        if not isinstance(table, dict):
            raise ChaosError(f"{path}: chaos is no table")
        return cls.from_dict(table)


def _at(name: str, source: Any) -> Script:
    try:
        return parse(source)
    except ChaosError as error:
        raise ChaosError(f"{name}: {error}") from None
