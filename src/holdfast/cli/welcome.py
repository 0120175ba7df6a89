"""What ``holdfast serve`` says once it serves: where, what answers, and lines to paste that work as they stand."""

from __future__ import annotations

import json
import shlex
from ipaddress import ip_address
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from rich.panel import Panel
from rich.text import Text

from holdfast import __version__
from holdfast.cli.environment import DEFAULT_FILE
from holdfast.cli.simulated import BREAK_FIRST, CUT_STREAM, what_to_set
from holdfast.config import CHAT
from holdfast.engine.route import Routes, fold
from holdfast.providers.catalog import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.config import Config, Provider

__all__ = ["banner", "welcome"]

_DEFAULT_LEDGER: Final = "holdfast.db"
_INDENT: Final = "  "


def banner(config: Config) -> Panel:
    """The loud part: nobody may take a simulated answer for a real one. ``config`` is without the simulated ones."""
    names = ", ".join(map(what_to_set, PROVIDERS))
    unused = [
        f"providers.{name} is not used: {config.providers[fold(name)].key_from}"
        for name in config.document.providers
    ]
    text = Text.assemble(
        ("No real model answers: ", "bold"),
        "no provider has a key, so simulated ones stand in for all six.\n",
        f"To use real ones, set one of {names} and start again,\n",
        "or name your own servers in holdfast.toml (holdfast.example.toml shows how).",
        *(f"\n{line}" for line in unused),
    )
    return Panel(text, title="SIMULATED", border_style="bold yellow", title_align="left", expand=False)


def welcome(config: Config, url: str, program: str, *, simulated: bool, keyed: bool) -> Iterator[str]:
    """The lines, top to bottom.

    Args:
        config: as it is served.
        url: where it listens.
        program: how to call ``holdfast`` from here.
        simulated: whether its providers are.
        keyed: callers need keys: the file's, or those that were made.
    """
    reach = _reachable(url)
    yield f"Holdfast {__version__} serves on {url}"
    yield from _table(config)
    model = _model_to_ask(config)
    yield ""
    if model is None:
        used = next((each.name for each in config.providers.values() if each.usable), None)
        if used is not None:
            yield f'There is no route: ask for a provider and a model, such as "{used}/MODEL".'
        else:
            yield "No provider has a key that is shared: callers are served with their own."
    else:
        yield "Try it:"
        yield _INDENT + _curl(keyed, reach, model, "Say hello.")
        yield _INDENT + _curl(keyed, reach, model, "Say hello.", stream=True)
    if simulated:
        yield ""
        yield "Break a provider on purpose: openai fails, anthropic answers (see the x-holdfast headers):"
        yield _INDENT + _curl(keyed, reach, CHAT, BREAK_FIRST, options="-i ")
        yield "Break a stream in the middle: it ends with an error, never as if it were complete:"
        yield _INDENT + _curl(keyed, reach, CHAT, CUT_STREAM, stream=True)
    yield ""
    yield "See what was written down:"
    yield f"{_INDENT}{program} ledger tail{_ledger_option(config)}"


def _table(config: Config) -> Iterator[str]:
    used = [each for each in config.providers.values() if each.usable or each.from_callers]
    names = ", ".join(f"{each.name} ({_addresses(each)})" for each in used)
    yield f"{_INDENT}providers  {names or 'none for everybody: each caller needs keys of its own'}"
    for place, route in enumerate(config.routes.values()):
        asked = ", ".join((route.name, *route.models))
        places = groupby(route.targets, key=lambda target: target.tier)
        chain = ", then ".join(" or ".join(map(str, equals)) for _, equals in places)
        yield f"{_INDENT}{'routes' if not place else '':<9}  {asked} -> {chain}"
    ledger = config.ledger
    yield f"{_INDENT}ledger     {ledger.url if ledger.shared else Path(ledger.path).absolute()}"
    if config.redis.url is not None:
        yield f"{_INDENT}shared     limits and breakers, through {config.redis.url}"
    if config.gateway.workers > 1:
        yield f"{_INDENT}workers    {config.gateway.workers}"
    yield f"{_INDENT}settings   {config.file or 'the environment (no holdfast.toml here)'}"


def _addresses(provider: Provider) -> str:
    """Each once: several keys may go to the same one."""
    return ", ".join(dict.fromkeys(deployment.base_url for deployment in provider.deployments))


def _model_to_ask(config: Config) -> str | None:
    """``chat`` where it is served, else the first name that is."""
    names = [entry.id for entry in Routes(config).models()]
    return next((name for name in names if fold(name) == CHAT), names[0] if names else None)


def _curl(keyed: bool, base: str, model: str, prompt: str, *, stream: bool = False, options: str = "") -> str:
    body = {"model": model, **({"stream": True} if stream else {})}
    said = json.dumps({**body, "messages": [{"role": "user", "content": prompt}]})
    auth = '-H "authorization: Bearer $HOLDFAST_KEY" ' if keyed else ""
    options = "-N " + options if stream else options
    return f"curl {options}{base}/v1/chat/completions {auth}-H 'content-type: application/json' -d {shlex.quote(said)}"


def _reachable(url: str) -> str:
    """``url``, at an address that a client on this machine can use: 0.0.0.0 is where one listens, not where one goes."""
    parts = urlsplit(url)
    host = ip_address(parts.hostname or "")
    if not host.is_unspecified:
        return url
    return f"{parts.scheme}://{'127.0.0.1' if host.version == 4 else '[::1]'}:{parts.port}"


def _ledger_option(config: Config) -> str:
    if config.ledger.shared:  # its URL has a password, and the file knows it
        default = config.file in (None, str(DEFAULT_FILE))
        return "" if default else f" --config {shlex.quote(str(config.file))}"
    return "" if config.ledger.path == _DEFAULT_LEDGER else f" --ledger {shlex.quote(config.ledger.path)}"
