"""From what a client is made with to a configuration: the same file as the gateway's, or the environment alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec.structs import replace

from holdfast.config import CHAT, Config, load, parse
from holdfast.config.server_url import postgres_url
from holdfast.engine.route import fold
from holdfast.errors import ConfigError
from holdfast.providers import catalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Configuration", "config_of", "names_ledger", "prioritised", "with_ledger"]

Configuration: TypeAlias = "Config | str | os.PathLike[str] | Mapping[str, Any] | None"


def config_of(
    config: Configuration, *, env: Mapping[str, str] | None, keys: Mapping[str, str] | None
) -> Config:
    """The configuration that is meant. Raises ConfigError."""
    if isinstance(config, Config):
        if keys or env is not None:
            raise ConfigError("`keys` and `env` belong to reading a configuration: this one is read already")
        return config
    if env is None:
        env = dict(os.environ)  # noqa: TID251  # a library's user has no command line that reads it for them
    env = {**env, **_as_environment(keys or {})}
    if isinstance(config, Mapping):
        return parse(config, env)
    return load(config, env)


def names_ledger(config: Config) -> bool:
    """Whether somebody asked for a ledger in a file: by a ``[ledger]``, or by a configuration file at all."""
    return config.file is not None or "ledger" in config.document.model_fields_set


def with_ledger(config: Config, path: str | os.PathLike[str]) -> Config:
    """``config`` with its ledger in another place: a file's path, or an URL as in ``[ledger]``."""
    where = os.fspath(path)
    url = _ledger_url(where) if "://" in where else f"sqlite:///{where}"
    return replace(config, ledger=config.ledger.model_copy(update={"url": url}))


def _ledger_url(url: str) -> str:
    if not url.startswith(("postgresql://", "postgres://")):
        return url
    try:
        return postgres_url(url)
    except ValueError as error:
        raise ConfigError(f"`ledger` {error}") from None


def prioritised(config: Config, priority: Sequence[str]) -> Config:
    """``config`` with the providers in ``priority`` first in the built-in route, in that order.

    Raises:
        ConfigError: a name is no provider's, or the route isn't the built-in one.
    """
    if not priority:
        return config
    if any(fold(name) == CHAT for name in config.document.routes):
        raise ConfigError(
            "`provider_priority` orders the built-in route: the file has a [routes.chat] of its own"
        )
    _check_names("provider_priority", priority, [provider.name for provider in config.providers.values()])
    route = config.routes.get(CHAT)
    if route is None:
        return config
    rank = {fold(name): place for place, name in enumerate(priority)}
    targets = sorted(route.targets, key=lambda target: rank.get(fold(target.provider), len(rank)))
    return replace(config, routes={**config.routes, CHAT: replace(route, targets=tuple(targets))})


def _as_environment(keys: Mapping[str, str]) -> dict[str, str]:
    """Keys by their providers' names, as the environment would have them."""
    _check_names("keys", keys, catalog.PROVIDERS)
    return {catalog.PROVIDERS[fold(name)].key_env[0]: key for name, key in keys.items()}


def _check_names(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    there = {fold(name): name for name in known}
    for name in names:
        if fold(name) not in there:
            near = catalog.nearest(name, there) or sorted(there.values())
            raise ConfigError(f"`{what}` names no provider {name!r}; there are {', '.join(near)}")
