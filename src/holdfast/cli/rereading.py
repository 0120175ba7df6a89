"""The configuration as ``serve`` reads it: at the start, and again for each reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.cli.environment import config_file, environment
from holdfast.config import load, with_simulated
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from holdfast.config import Config

__all__ = ["rereading"]


def rereading(
    file: Path | None,
    *,
    host: str | None,
    port: int | None,
    workers: int | None,
    simulated: Mapping[str, str],
) -> Callable[[], Config]:
    """What reads it again.

    Args:
        file: what was read at the start. None: there was none, so one that is in its default place by now is taken.
        host: as at the start.
        port: as at the start.
        workers: as at the start.
        simulated: base URLs of the simulated providers that run; used as long as there are no others.
    """

    def read() -> Config:
        # A file that was there and isn't is an error, and no wish for a gateway without one: editors rename.
        path = file if file is not None else config_file(None)
        if path is not None and path.exists() and not path.is_file():
            raise ConfigError(f"{path}: is no file, so it can't be read a second time: restart the gateway")
        config = load(path, environment(), host=host, port=port, workers=workers)
        return with_simulated(config, simulated) if simulated and not config.has_providers else config

    return read
