"""Tenants' own keys to providers by reference, ``[keys.NAME.providers.PROVIDER]``; the master key of those that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from pydantic_core import PydanticCustomError

from holdfast.config import fields
from holdfast.config.key_file import read_key_file
from holdfast.config.problems import or_one_of
from holdfast.engine.route import fold
from holdfast.master_key import master_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from holdfast.config.effective import Provider
    from holdfast.config.problems import Path
    from holdfast.config.schema import OwnKeyTable
    from holdfast.config.source import Source
    from holdfast.secret import Secret

    T = TypeVar("T")

__all__ = ["MASTER_KEY", "OwnKey", "master_keys_of", "own_keys_of"]

MASTER_KEY: Final = "HOLDFAST_MASTER_KEY"
"""The environment's name of ``gateway.master_key``."""


class OwnKey(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's own key to one provider."""

    key: Secret
    base_url: str | None = None
    """An address that belongs to the key; None: the provider's."""
    told: str
    """Where it came from; never the key."""


def own_keys_of(source: Source, providers: Mapping[str, Provider]) -> dict[str, dict[str, OwnKey]]:
    """By tenant and provider, both folded; tenants without any aren't there."""
    made: dict[str, dict[str, OwnKey]] = {}
    for name, table in source.doc.keys.items():
        for provider, written in table.providers.items():
            path: Path = ("keys", name, "providers", provider)
            known = providers.get(fold(provider))
            if known is None:
                near = or_one_of(provider, (each.name for each in providers.values()))
                source.wrong(path, f"there is no such provider{near}")
            elif (own := _read(source, path, written, known)) is not None:
                made.setdefault(fold(name), {})[fold(provider)] = own
    return made


def master_keys_of(source: Source) -> tuple[Secret, ...]:
    """The file's, else the environment's; none where there is none. The first one seals, all of them open."""
    gateway = source.doc.gateway
    if gateway.master_key is not None and gateway.master_key_file is not None:
        source.wrong(("gateway", "master_key"), "contradicts master_key_file; leave one of them out")
    if gateway.master_key is not None:
        return _checked(source, ("gateway", "master_key"), gateway.master_key.reveal(), master_keys) or ()
    if gateway.master_key_file is not None:
        path: Path = ("gateway", "master_key_file")
        text = _checked(source, path, gateway.master_key_file, read_key_file)
        return () if text is None else _checked(source, path, text, master_keys) or ()
    written = source.of_environment(MASTER_KEY)
    return () if not written else _checked(source, (), written, master_keys) or ()


def _read(source: Source, path: Path, written: OwnKeyTable, provider: Provider) -> OwnKey | None:
    if provider.from_callers:
        source.wrong(path, f'contradicts [providers.{provider.name}] auth = "caller"; leave one of them out')
        return None
    if (written.api_key is None) == (written.api_key_file is None):
        both = written.api_key is not None
        source.wrong(
            (*path, "api_key"),
            "contradicts api_key_file; leave one of them out" if both else "is missing, or api_key_file",
        )
        return None
    if not (written.base_url or provider.home):
        source.wrong(
            (*path, "base_url"),
            "is missing: it is an address of the key's own, such as https://NAME.openai.azure.com",
        )
        return None
    where = (*path, "api_key")
    key = written.api_key
    if written.api_key_file is not None:
        where = (*path, "api_key_file")
        text = _checked(source, where, written.api_key_file, read_key_file)
        key = None if text is None else _checked(source, where, text, fields.secret)
        if key is None:
            return None
    if key is None or key.reveal().lower() in fields.NO_KEY:
        source.wrong(where, 'is empty or "none": leave the table out where this key has none of its own')
        return None
    return OwnKey(key=key, base_url=written.base_url, told=source.told(where))


def _checked(source: Source, path: Path, value: str, check: Callable[[str], T]) -> T | None:
    try:
        return check(value)
    except (ValueError, PydanticCustomError) as error:
        said = error.message() if isinstance(error, PydanticCustomError) else str(error)
        if path:
            source.wrong(path, said)
        else:
            source.wrong((), f"environment {MASTER_KEY}: {said}")
        return None
