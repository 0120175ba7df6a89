"""Settings in one line, as tests write them: ``preset="gentle", rate_limit_pct=5, ttft=0.2, script="429; ok"``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.chaos.config import ChaosConfig
from holdfast.chaos.errors import ChaosError, nearest
from holdfast.chaos.faults import FAULTS
from holdfast.chaos.settings import Pace
from holdfast.chaos.wire.errors import NAMED

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["config", "values"]

_PACE = frozenset(Pace.__struct_fields__)
_RATES = frozenset(f"{name}_pct" for name in (*FAULTS, *NAMED) if name != "status")
_OTHERS = frozenset(ChaosConfig.__struct_fields__)
_SCRIPT = "script"


def values(options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` as data for :meth:`ChaosConfig.from_dict`. Raises :class:`ChaosError` with the nearest name.

    An option is a setting of :class:`ChaosConfig`, a setting of its ``pace``, ``NAME_pct`` (the share in percent of a fault
    or error called NAME, or of a status: ``status_503_pct``), or ``script``: what all attempts get, or a table of model
    patterns and what each gets.
    """
    said: dict[str, Any] = {}
    pace: dict[str, Any] = {}
    rates: dict[str, Any] = {}
    for name, value in options.items():
        if name in _PACE:
            pace[name] = value
        elif name in _RATES:
            rates[name.removesuffix("_pct")] = value
        elif name.startswith("status_") and name.endswith("_pct") and name[7:-4].isdecimal():
            rates[name[7:-4]] = value
        elif name == _SCRIPT:
            said["scripts" if isinstance(value, dict) else "default"] = value
        elif name in _OTHERS:
            said[name] = value
        else:
            raise ChaosError(
                f"unknown option {name!r}: {nearest(name, _OTHERS | _PACE | _RATES | {_SCRIPT})}"
            )
    for table, given in (("pace", pace), ("rates", rates)):
        if given:
            said[table] = {**said.get(table, {}), **given}
    return said


def config(options: Mapping[str, Any]) -> ChaosConfig:
    """The configuration that they make. Raises :class:`ChaosError`."""
    return ChaosConfig.from_dict(values(options))
