"""The ledger's schema and health: ``ledger.md``."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Final

from docs.tables.markdown import attribute_docs, table
from docs.tables.meanings import MEANINGS

from holdfast.ledger.base import LedgerHealth
from holdfast.ledger.entry import AttemptRow, End, Intent, Record
from holdfast.ledger.migrate import shipped
from holdfast.ledger.verify import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docs.tables.markdown import Parts

__all__ = ["PARTS", "TABLES", "columns"]

TABLES: Final = (
    "requests",
    "attempts",
    "idempotency",
    "spend",
    "sessions",
    "blocks",
    "keys",
    "key_texts",
    "provider_keys",
    "owners",
    "secrets",
    "pruned",
    "migrations",
)
"""In the order of the page."""

_FIELD: Final = {
    # Columns that are named otherwise than the field they hold.
    "served_provider": "provider",
    "served_model": "model",
}
_COMMENT: Final = re.compile(r"^\s+(\w+)\s.*?,?\s+-- (.+)$", re.MULTILINE)
_TABLE: Final = re.compile(r"CREATE TABLE (\w+) \((.*?)\n\)", re.DOTALL)
_SOURCES: Final = {"requests": (Intent, End, Record), "attempts": (AttemptRow,)}


def columns(name: str) -> Iterator[tuple[str, str, str]]:
    """Name, type and meaning of a table's columns."""
    said = MEANINGS["ledger"]
    comments = {
        (made[1], line[1]): line[2]
        for migration in shipped()
        for made in _TABLE.finditer(migration.sql)
        for line in _COMMENT.finditer(made[2])
    }
    with closing(sqlite3.connect(":memory:")) as database:
        for migration in shipped():
            database.executescript(migration.sql)
        database.execute(
            "CREATE TABLE migrations (number INTEGER, name TEXT, sha256 TEXT, applied_ns INTEGER)"
        )
        for _, column, kind, *_ in database.execute(f"PRAGMA table_info({name})"):
            meaning = said.get(f"{name}.{column}") or said.get(f"usage.{column}") or _told(name, column)
            yield column, kind, meaning or _capital(comments[name, column])


def _told(name: str, column: str) -> str | None:
    field = _FIELD.get(column, column)
    for kind in _SOURCES.get(name, ()):
        if said := attribute_docs(kind).get(field):
            return said
    return None


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def schema(name: str) -> str:
    return table(
        ("column", "type", "meaning"), [(f"`{column}`", kind, said) for column, kind, said in columns(name)]
    )


def health() -> str:
    return table(
        ("field", "meaning"), [(f"`{name}`", said) for name, said in attribute_docs(LedgerHealth).items()]
    )


def rules() -> str:
    """What ``holdfast ledger verify`` looks for, in its order."""
    first = [("database", "SQLite's own integrity check finds nothing damaged"), ("accepted", _ACCEPTED)]
    told = [(rule.name, rule.holds + (" (repair mends it)" if rule.mend else "")) for rule in RULES]
    return table(
        ("rule", "what holds"), [(f"`{name}`", _capital(said)) for name, said in (*first, *told, *_LAST)]
    )


_ACCEPTED: Final = "accepted = ok + failed + cancelled + unknown + in flight"
_LAST: Final = (
    ("spend", "nothing was spent that is less than nothing"),
    (
        "spend-sums",
        "what was spent of each budget is what its requests were charged, as far as they are kept",
    ),
    ("expired", "says how many rows wait to be cleared away; never wrong"),
    (
        "counters",
        "with `--gateway`: what gateways have counted since their start is what the ledger has of them",
    ),
)


PARTS: Parts = {
    **{f"schema-{name}": partial(schema, name) for name in TABLES},
    "ledger-health": health,
    "ledger-rules": rules,
}
