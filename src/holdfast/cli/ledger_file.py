"""Which ledger a command means, and which of its requests. A password of its URL shows nowhere."""

from __future__ import annotations

import re
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from holdfast.cli.environment import config_file, environment
from holdfast.errors import ConfigError, NotFound
from holdfast.ledger.read_only import is_postgres
from holdfast.ledger.reader import Filter, LedgerReader
from holdfast.ledger.sqlite import path_of
from holdfast.secret import Secret

if TYPE_CHECKING:
    from holdfast.ledger import Record

__all__ = ["Place", "ledger_place", "one_request", "open_reader"]

Place: TypeAlias = Path | Secret
"""A SQLite file, or the URL of a PostgreSQL database."""

_DEFAULT_URL: Final = "sqlite:///holdfast.db"
_ID: Final = re.compile(r"[0-9a-f]{1,8}(-[0-9a-f]{0,4}){0,3}(-[0-9a-f]{0,12})?")
_SHOWN: Final = 5
_SLACK_NS: Final = 60_000_000_000  # between making an id and starting its request the clock may have been set


def ledger_place(ledger: str | None, config: Path | None) -> Place:
    """What ``--ledger`` names, else the configuration, else the default file.

    Raises:
        ConfigError: the configuration can't be read, or names no ledger.
    """
    file = config_file(config) if ledger is None else None
    if ledger is None and file is None:
        return path_of(_DEFAULT_URL)
    if ledger is not None and not is_postgres(ledger):
        return path_of(ledger) if ledger.startswith("sqlite:") else Path(ledger)
    # Takes longer to import than a ledger to read.
    from holdfast.config import ServerUrl, load
    from holdfast.config.server_url import postgres_url

    try:
        url = load(file, environment()).ledger.url if ledger is None else postgres_url(ledger)
    except ValueError as error:
        raise ConfigError(f"--ledger {error}") from None
    if not isinstance(url, ServerUrl):
        return path_of(url)
    if find_spec("psycopg") is None:
        raise ConfigError("ledger.url: psycopg isn't installed: pip install 'holdfast[cluster]'")
    return Secret(url.reveal())


def open_reader(place: Place, *, statement_s: float = 60.0) -> LedgerReader:
    """Raises as :class:`~holdfast.ledger.reader.LedgerReader`."""
    where = place.reveal() if isinstance(place, Secret) else place
    return LedgerReader(where, statement_s=statement_s)


def one_request(reader: LedgerReader, prefix: str) -> Record:
    """The request whose id is ``prefix``, or the only one whose id begins so.

    Raises:
        NotFound: there is none, or more than one.
    """
    wanted = prefix.strip().lower()
    if len(wanted) == 36:
        return reader.show(wanted)
    if not _ID.fullmatch(wanted):
        raise NotFound(
            f"{prefix!r} is no request id: take one from x-holdfast-request-id or `holdfast ledger list`"
        )
    begun = reader.requests(_made_at(wanted), limit=None)
    found = list(islice((record for record in begun if record.intent.id.startswith(wanted)), _SHOWN + 1))
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFound(f"the ledger has no request whose id begins with {wanted}")
    named = "\n".join(f"  {record.intent.id}" for record in found[:_SHOWN])
    more = "\n  …" if len(found) > _SHOWN else ""
    raise NotFound(f"more than one request's id begins with {wanted}: give more of it\n{named}{more}")


def _made_at(prefix: str) -> Filter:
    """Ids are UUIDs of version 7: their first 12 digits are milliseconds, so a prefix bounds the rows to look at."""
    digits = prefix.replace("-", "")[:12]
    first, last = (int(digits.ljust(12, fill), 16) * 1_000_000 for fill in "0f")
    top = 2**63 - 1
    return Filter(since_ns=min(first - _SLACK_NS, top), until_ns=min(last + _SLACK_NS, top))
