"""The provider that fails on purpose: ``chaos.md``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from docs.tables.markdown import attribute_docs, code, table
from docs.tables.meanings import MEANINGS
from msgspec import inspect as kinds

from holdfast.chaos import FAULTS, ChaosConfig, presets
from holdfast.chaos.admin import ENDPOINTS
from holdfast.chaos.capacity import Capacity
from holdfast.chaos.journal import Entry
from holdfast.chaos.mix import Share
from holdfast.chaos.rate_limits import Limits
from holdfast.chaos.realtime.paths import PATHS as REALTIME
from holdfast.chaos.realtime.settings import RealtimeSettings
from holdfast.chaos.settings import AnswerSettings, Pace
from holdfast.chaos.timeline import Window
from holdfast.chaos.wire.errors import NAMED, ErrorAnswer, Problem
from holdfast.chaos.wire.routes import WIRES, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from docs.tables.markdown import Parts

__all__ = ["PARTS"]


def settings(kind: type[msgspec.Struct]) -> list[tuple[str, str, str, str]]:
    """Name, range, default and meaning of each setting of ``kind``."""
    info = kinds.type_info(kind)
    if not isinstance(info, kinds.StructType):
        raise TypeError(f"{kind} has no settings")
    said = {
        name: text
        for base in reversed(kind.__mro__)
        if base.__module__.startswith("holdfast.")
        for name, text in attribute_docs(base).items()
    }
    words = MEANINGS["chaos"]
    return [
        (
            f"`{field.encode_name}`",
            _range(field.type),
            _default(field),
            words.get(f"{kind.__name__}.{field.name}") or said[field.name],
        )
        for field in info.fields
    ]


def _range(kind: kinds.Type) -> str:
    match kind:
        case kinds.UnionType(types=parts):
            return " or ".join(
                dict.fromkeys(_range(part) for part in parts if not isinstance(part, kinds.NoneType))
            )
        case kinds.LiteralType(values=values):
            return " or ".join(code(value) for value in values)
        case kinds.IntType(ge=low, le=high) | kinds.FloatType(ge=low, le=high):
            what = "whole number" if isinstance(kind, kinds.IntType) else "number"
            above = getattr(kind, "gt", None)
            if above is not None:
                return f"{what} above {above:g}, at most {_shown(high)}"
            return f"{what} {_shown(low)} to {_shown(high)}" if low is not None else what
        case kinds.StrType():
            return "text"
        case kinds.BoolType():
            return "`true` or `false`"
        case kinds.DictType():
            return "table"
        case kinds.VarTupleType() | kinds.ListType():
            return "list of texts"
    return "script"


def _shown(bound: float | None) -> str:
    return "any" if bound is None else f"{int(bound):_}" if bound == int(bound) else f"{bound:g}"


def _default(field: kinds.Field) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else None
    if value is None:
        return "none" if field.default_factory is msgspec.NODEFAULT else "empty"
    if value in ((), {}):
        return "empty"
    if isinstance(value, tuple):
        return ", ".join(code(item) for item in value)
    if isinstance(value, str) and len(value) > 40:
        return "a short HTML page"
    return code(value)


def answer() -> str:
    return table(("setting", "value", "default", "meaning"), settings(AnswerSettings))


def config() -> str:
    return table(("setting", "value", "default", "meaning"), settings(ChaosConfig))


def parts_of(*kinds_: type[msgspec.Struct]) -> Callable[[], str]:
    """A table of settings that a table of the configuration holds."""
    return lambda: "\n\n".join(
        table(("setting", "value", "default", "meaning"), settings(kind)) for kind in kinds_
    )


def preset_list() -> str:
    return table(("preset", "what it is"), [(f"`{name}`", presets.summary(name)) for name in presets.NAMES])


def preset_files() -> str:
    return "\n\n".join(f"#### {name}\n\n```toml\n{presets.source(name)}```" for name in presets.NAMES)


def example(name: str) -> Callable[[], str]:
    """A file of ``examples/test_your_app``, whole."""
    return lambda: f"```python\n{(_EXAMPLES / name).read_text(encoding='utf-8')}```"


def faults() -> str:
    rows = [
        (
            f"[`{fault.name}`](#{fault.name})" if fault.settings.__struct_fields__ else f"`{fault.name}`",
            fault.summary,
            "yes" if fault.plain else "no",
            "yes" if fault.stream else "no",
            f"`{fault.primary}`" if fault.primary else "",
        )
        for fault in FAULTS.values()
    ]
    return table(("fault", "what it does", "plain", "stream", "`name=value` sets"), rows)


def fault_settings() -> str:
    parts = []
    for fault in FAULTS.values():
        if rows := settings(fault.settings):
            parts += [f"#### {fault.name}", table(("setting", "value", "default", "meaning"), rows)]
    return "\n\n".join(parts)


def named_errors() -> str:
    rows = [
        (f"`{name}`", said, *(_told(wire.error(Problem(name=name), "m", "req")) for wire in WIRES))
        for name, said in NAMED.items()
    ]
    return table(("name", "what it means", *(f"`{wire.name}`" for wire in WIRES)), rows)


def _told(error: ErrorAnswer) -> str:
    """Status, and the word of the body that names it."""
    if (blocked := error.value.get("promptFeedback")) is not None:
        return f"{error.status}, `blockReason` `{blocked['blockReason']}`"
    body = error.value["error"]
    return f"{error.status} `{body.get('status') or body.get('code') or body['type']}`"


def paths() -> str:
    shown = [(f"`{endpoint}`", name if " " in name else f"`{name}`") for endpoint, name in rows()]
    shown += [(f"`GET {path}` (WebSocket)", "`realtime`") for path in REALTIME]
    return table(("endpoint", "format"), shown)


def endpoints() -> str:
    rows = []
    for endpoint in ENDPOINTS:
        arguments = f"; `?{'=`, `'.join(endpoint.arguments)}=`" if endpoint.arguments else ""
        rows.append((f"`{endpoint.method} {endpoint.path}`", endpoint.summary + arguments))
    return table(("endpoint", "what"), rows)


def journal() -> str:
    rows = [
        (f"`{name}`", MEANINGS["chaos"].get(f"Entry.{name}") or said)
        for name, said in attribute_docs(Entry).items()
    ]
    return table(("field", "meaning"), rows)


_EXAMPLES = Path(__file__).parents[2] / "examples" / "test_your_app"

PARTS: Parts = {
    "chaos-endpoints": endpoints,
    "chaos-presets": preset_list,
    "chaos-preset-files": preset_files,
    "chaos-pace": parts_of(Pace),
    "chaos-share": parts_of(Share),
    "chaos-window": parts_of(Window),
    "chaos-capacity": parts_of(Capacity),
    "chaos-limits": parts_of(Limits),
    "chaos-realtime": parts_of(RealtimeSettings),
    "example-openai": example("test_openai_app.py"),
    "example-anthropic": example("test_anthropic_app.py"),
    "example-pydantic-ai": example("test_pydantic_ai_app.py"),
    "chaos-answer": answer,
    "chaos-config": config,
    "chaos-faults": faults,
    "chaos-fault-settings": fault_settings,
    "chaos-errors": named_errors,
    "chaos-journal": journal,
    "chaos-paths": paths,
}
