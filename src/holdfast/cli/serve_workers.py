"""``holdfast serve --workers``: the supervisor's part of it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

from holdfast.config import load, read_text
from holdfast.config.fixed import fixed_problems
from holdfast.config.problems import raise_for
from holdfast.config.sharing import sharing_problems
from holdfast.errors import ConfigError
from holdfast.gateway.workers import Reread, Supervisor
from holdfast.gateway.workers_link import Begin
from holdfast.gateway.workers_port import Port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.config import Config

__all__ = ["serve_workers"]


# -P: a module of that name in the working directory isn't taken for ours
_COMMAND: Final = (sys.executable, "-P", "-m", "holdfast.cli.worker")


def serve_workers(
    config: Config,
    env: Mapping[str, str],
    text: bytes | None,
    simulated: Mapping[str, str],
    *,
    host: str | None,
    port: int | None,
    announce: Callable[[str, bool], None],
) -> int:
    """Serves with as many processes as ``config`` says, until SIGTERM or SIGINT. The exit code.

    Args:
        config: as it is served.
        env: the environment's variables, which the workers inherit.
        text: what its file held.
        simulated: base URLs of simulated providers, if those are served.
        host: overrides the file's.
        port: overrides the file's.
        announce: told the URL and whether callers need keys, once all workers serve.

    Raises:
        ConfigError: what is served can't be shared by several processes.
        WorkersFailed: a worker could not start, or none serves any more.
        OSError: the address can't be bound.
    """
    raise_for(list(sharing_problems(config)), file=config.file)  # the simulated ones have breakers, too
    workers = config.gateway.workers

    def reread() -> Reread | None:
        if config.file is None:
            return None
        try:
            new = read_text(config.file)
            read = load(config.file, env, host=host, port=port, workers=workers, text=new)
        except ConfigError:
            return None  # each worker says why
        return None if any(fixed_problems(config, read)) else Reread(new, read.gateway.drain_s)

    with Port(config.gateway.host, config.gateway.port) as at:
        begin = Begin(
            number=0,
            workers=workers,
            listener=-1,
            file=config.file,
            text=text,
            host=host,
            port=port,
            simulated=simulated,
        )
        supervisor = Supervisor(
            begin,
            at,
            command=_COMMAND,
            drain_s=config.gateway.drain_s,
            announce=announce,
            reread=reread,
        )
        with asyncio.Runner() as runner:
            return runner.run(supervisor.run())
