"""What a sound configuration of callers' own keys likely doesn't mean."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from holdfast.config.effective import is_loopback
from holdfast.config.key_file import is_open_to_others
from holdfast.config.problems import Problem
from holdfast.engine.route import fold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.config.effective import Config, Provider
    from holdfast.config.problems import Path

__all__ = ["own_key_findings", "serves_somebody"]


def serves_somebody(config: Config, provider: Provider) -> bool:
    """With the shared key, or with keys of callers' own: those that they bring, or that are kept for them."""
    own = any(fold(provider.name) in keys for keys in config.own_keys.values())
    return provider.usable or provider.from_callers or own or bool(config.master_keys)


def own_key_findings(config: Config) -> Iterator[Problem]:
    for path, file in _files(config):
        if is_open_to_others(file):
            yield Problem(
                path, "can be read by other users of this machine; chmod 600 it, unless it is mounted so"
            )
    for name, table in config.document.keys.items():
        for provider, written in table.providers.items():
            address = written.base_url or config.providers[fold(provider)].home
            if address.startswith("http://") and not _is_local(address):
                yield Problem(
                    ("keys", name, "providers", provider),
                    "its key travels readable, since the address is http://; use https://",
                )
        key = config.keys[fold(name)]
        if key.own_keys_only and not (table.providers or config.master_keys or _takes_callers(config)):
            yield Problem(
                ("keys", name, "own_keys_only"),
                "has no key of its own here, and no master key is set for others: nothing serves it",
            )


def _files(config: Config) -> Iterator[tuple[Path, str]]:
    if (file := config.gateway.master_key_file) is not None:
        yield ("gateway", "master_key_file"), file
    for name, table in config.document.keys.items():
        for provider, written in table.providers.items():
            if written.api_key_file is not None:
                yield ("keys", name, "providers", provider, "api_key_file"), written.api_key_file


def _takes_callers(config: Config) -> bool:
    return any(provider.from_callers for provider in config.providers.values())


def _is_local(address: str) -> bool:
    return is_loopback(urlsplit(address).hostname or "")
