"""``holdfast serve``"""

import asyncio
import errno
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from holdfast.cli.environment import config_file, environment, program
from holdfast.cli.output import complain, console, say

__all__ = ["event_loop", "no_address", "serve"]


def serve(
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="TOML file. Default: ./holdfast.toml if there is one."
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="Address to listen on. Default: the file's, or 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Port; 0 takes a free one. Default: the file's, or 8080."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes that serve together. More than one need PostgreSQL. Default: the file's, or 1.",
        ),
    ] = None,
) -> None:
    """Start the gateway, and serve until SIGTERM or Ctrl-C.

    With no file, providers come from the environment: OPENAI_API_KEY, ANTHROPIC_API_KEY,
    DEEPSEEK_API_KEY, GEMINI_API_KEY, AZURE_OPENAI_API_KEY, OPENROUTER_API_KEY. With no key at all,
    six simulated providers answer, and the start says so.

    \b
    Examples:
      holdfast serve                                try it: works with no file and no key
      OPENAI_API_KEY=… holdfast serve               one provider, behind the model name "chat"
      holdfast serve --config gateway.toml          your providers, routes and limits
      holdfast serve --port 0                       on a free port, which is printed
      holdfast serve --workers 4                    four processes, with PostgreSQL and Redis in the file

    On SIGTERM it stops taking requests, lets running ones finish (gateway.drain_s, 30 s), writes the
    ledger down and ends. On SIGHUP it reads its configuration again, as with 'holdfast reload'. An address
    that other machines reach needs a key first: holdfast keys create.

    Exit codes: 0 ended after a drain; 1 the configuration, the port or the ledger can't be used, no worker
    serves any more, or one didn't end in time.
    """
    # Imported here: the server's libraries take longer to import than other commands take to run.
    from holdfast.cli.rereading import rereading
    from holdfast.cli.serve_workers import serve_workers
    from holdfast.cli.simulated import simulated_providers
    from holdfast.cli.welcome import banner, welcome
    from holdfast.config import load, read_text, with_simulated
    from holdfast.gateway.log import configure_logging
    from holdfast.gateway.server import serve as serve_gateway

    env, file, code = environment(), config_file(config), 0
    text = None if file is None else read_text(file)
    settings = written = load(file, env, host=host, port=port, workers=workers, text=text)
    configure_logging(settings.gateway.log.level, settings.gateway.log.format)
    with ExitStack() as stack:
        simulated = not settings.has_providers
        played: Mapping[str, str] = {}
        if simulated:
            played = stack.enter_context(simulated_providers())
            settings = with_simulated(settings, played)

        def announce(url: str, keyed: bool) -> None:
            if simulated:
                console(stderr=True).print(banner(written))
            for line in welcome(settings, url, program(env), simulated=simulated, keyed=keyed):
                say(line)

        try:
            if settings.gateway.workers > 1:
                code = serve_workers(settings, env, text, played, host=host, port=port, announce=announce)
            else:
                read = rereading(file, host=host, port=port, workers=workers, simulated=played)
                with asyncio.Runner(loop_factory=event_loop()) as runner:
                    runner.run(serve_gateway(settings, announce=announce, read=read))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
                raise
            no_address(settings.gateway.host, settings.gateway.port, error, retry="holdfast serve")
    raise typer.Exit(code)


def no_address(host: str, port: int, error: OSError, *, retry: str) -> NoReturn:
    """Complains that ``host`` and ``port`` can't be listened on, with what to do, and ends the process."""
    why = f" ({error.strerror})" if error.strerror else ""
    complain(
        f"can't listen on {host}, port {port}{why}: the port is in use, or the address isn't this machine's.\n"
        f"Stop what listens there, or take another port: {retry} --port {port + 1 if 0 < port < 65_535 else 0}"
    )
    sys.exit(1)


def event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it can be had (not on Windows); None: asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
