"""What differs between two configurations, for people: paths, and values as far as they may be shown.

Hidden are secrets, what stands where anything may stand (headers, parameters, addresses), and what the environment
filled in.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from pydantic import BaseModel

from holdfast.config.problems import dotted
from holdfast.config.server_url import ServerUrl
from holdfast.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.config.effective import Config
    from holdfast.config.problems import Path

__all__ = ["HIDDEN", "Change", "changes_between", "fingerprint_of"]

HIDDEN: Final = "***"
_ANYTHING: Final = frozenset(("headers", "set", "proxy", "base_url", "url"))
"""Settings whose values may hold a login, or anything else."""
_LONGEST: Final = 120


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One setting."""

    path: str
    """As TOML writes it."""
    kind: Literal["added", "removed", "changed"]
    before: Any = None
    """None: it wasn't set. :data:`HIDDEN`: it is kept back."""
    after: Any = None


class _Leaf(msgspec.Struct, frozen=True):
    value: object
    """What is compared."""
    shown: Any


def changes_between(before: Config, after: Config) -> tuple[Change, ...]:
    """Every setting that one of them has and the other hasn't, or has otherwise; in the order of the newer file."""
    old, new = _leaves(before), _leaves(after)
    found = [
        _change(path, old.get(path), new.get(path))
        for path in (*new, *(path for path in old if path not in new))
        if old.get(path) != new.get(path)
    ]
    paths = [change.path for change in found]
    # What a key file holds, or the environment, changes without a word in the file.
    kept, given = dict(_keys(before)), dict(_keys(after))
    silent = [
        place
        for place in dict.fromkeys((*given, *kept))
        if kept.get(place) != given.get(place) and not any(_within(path, place) for path in paths)
    ]
    return (
        *found,
        *(_change(place, _hidden(kept.get(place)), _hidden(given.get(place))) for place in silent),
    )


def fingerprint_of(config: Config) -> str:
    """The same for equal configurations, in every process and on every machine; tells nothing of what they hold."""
    told = sha256()
    for path, leaf in sorted(_leaves(config).items()):
        told.update(f"{path}={_digest(leaf.value)}\n".encode())
    for place, secrets in sorted(_keys(config)):
        told.update(f"{place}={_digest(secrets)}\n".encode())
    return told.hexdigest()[:16]


def _within(path: str, place: str) -> bool:
    return path.startswith(place) and path[len(place) :][:1] in ("", ".", "[", "_")  # _: master_key_file


def _leaves(config: Config) -> dict[str, _Leaf]:
    return {
        dotted(path): _Leaf(value, _shown(path, value, config.origins))
        for path, value in _walk(config.document, ())
    }


def _walk(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Every setting that was written, with its path. A list of plain values is one."""
    if isinstance(value, BaseModel):
        written = [name for name in type(value).model_fields if name in value.model_fields_set]
        for name in written:
            yield from _walk(getattr(value, name), (*path, name))
        if not written and path:
            yield path, {}
    elif isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _walk(each, (*path, str(name)))
    elif isinstance(value, (list, tuple)) and any(isinstance(each, (BaseModel, dict)) for each in value):
        for place, each in enumerate(value):
            yield from _walk(each, (*path, place))
    else:
        yield path, value


def _keys(config: Config) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Secrets that count, wherever they came from, by the table that they belong to."""
    for provider in config.providers.values():
        keys = tuple(each.key for each in (*provider.deployments, *provider.idle) if each.key is not None)
        yield dotted(("providers", provider.name)), keys
    for tenant, own in config.own_keys.items():
        for name, key in own.items():
            yield dotted(("keys", tenant, "providers", name)), (key.key,)
    yield "gateway.master_key", config.master_keys


def _shown(path: Path, value: Any, origins: Mapping[Path, tuple[str, ...]]) -> Any:
    """``value`` as JSON can say it, or :data:`HIDDEN`."""
    if not _ANYTHING.isdisjoint(map(str, path)) or any(origin[: len(path)] == path for origin in origins):
        return HIDDEN
    if isinstance(value, (list, tuple)):
        return [_shown(path, each, {}) for each in value]
    if isinstance(value, (bool, int, float)) or value is None or value == {}:
        return value
    if isinstance(value, ServerUrl):
        return str(value)
    if isinstance(value, (Secret, bytes, dict)):
        return HIDDEN
    return str(value)[:_LONGEST]


def _change(path: str, before: _Leaf | None, after: _Leaf | None) -> Change:
    return Change(
        path=path,
        kind="added" if before is None else "removed" if after is None else "changed",
        before=None if before is None else before.shown,
        after=None if after is None else after.shown,
    )


def _hidden(secrets: tuple[object, ...] | None) -> _Leaf | None:
    return _Leaf(secrets, HIDDEN) if secrets else None


def _digest(value: object) -> str:
    """Of anything that a configuration may hold; the same however it is printed."""
    if isinstance(value, (Secret, ServerUrl)):
        text = value.reveal()
    elif isinstance(value, (list, tuple)):
        text = ",".join(_digest(each) for each in value)
    elif isinstance(value, (set, frozenset)):
        text = ",".join(sorted(_digest(each) for each in value))
    else:
        text = repr(value)
    return sha256(f"{type(value).__name__}:{text}".encode()).hexdigest()
