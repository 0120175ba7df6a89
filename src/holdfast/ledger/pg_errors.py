"""What PostgreSQL's errors mean here, by their codes (SQLSTATE): what one row is to blame for, what may be tried again."""

from __future__ import annotations

from typing import Final

import msgspec
import psycopg

__all__ = ["explain", "is_conflict", "is_row_fault", "said"]

_ADVICE: Final = {
    "08": "the connection was lost: writing goes on by itself when the server answers again",
    "25006": "the server takes no writes (it is a standby, or set to read-only): name the primary in ledger.url",
    "28": "the server refuses the user or its password: correct ledger.url, or the server's pg_hba.conf",
    "3D000": "the database isn't there: create it, or name another one in ledger.url",
    "3F000": "the schema isn't there: create it, or correct search_path in ledger.url",
    "42501": "the user may not do that: make it the owner of the ledger's tables",
    "42P01": "one of the ledger's tables is gone: restore a copy, or use another database",
    "53100": "the server's disk is full: make room; writing goes on by itself",
    "53200": "the server is out of memory; writing goes on by itself",
    "53300": "the server takes no more connections: raise its max_connections: each process has three or four",
    "53": "the server lacks resources; writing goes on by itself",
    "55P03": "another program keeps the tables locked: end it; writing goes on by itself",
    "57014": "the server was too slow: another program may keep the tables locked; writing goes on by itself",
    "57P": "the server is stopping or starting: writing goes on by itself when it answers again",
    "58": "the server's disk reported an error: check it",
    "XX": "the server reports an internal error: see its log",
}
"""By code, or by what it begins with."""

_ROW_FAULTS: Final = (
    psycopg.IntegrityError,
    psycopg.DataError,
    AttributeError,
    OverflowError,
    TypeError,
    ValueError,
    msgspec.MsgspecError,
)
_CONFLICTS: Final = frozenset(("40001", "40P01"))
_TOO_LONG: Final = "54000"
"""A value that no index takes: there it may have 2,700 bytes or so."""


def said(error: BaseException) -> str:
    """Its message in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def explain(error: BaseException) -> str:
    """What went wrong, and what to do."""
    message = said(error)
    code = getattr(error, "sqlstate", None) or ("08" if isinstance(error, psycopg.OperationalError) else "")
    for length in (5, 3, 2):
        if len(code) >= length and (advice := _ADVICE.get(code[:length])):
            return f"the ledger can't write ({message}): {advice}"
    return f"the ledger can't write: {message}"


def is_row_fault(error: BaseException) -> bool:
    """Whether one row or statement is to blame, and not the database: a value that can't be stored, a constraint."""
    if isinstance(error, _ROW_FAULTS):
        return True
    code = getattr(error, "sqlstate", None)
    # Without a code it is psycopg itself that knows no such type.
    return code == _TOO_LONG or (isinstance(error, psycopg.ProgrammingError) and code is None)


def is_conflict(error: BaseException) -> bool:
    """Whether another transaction was in the way (a deadlock, a failed serialization): the same again may succeed."""
    return getattr(error, "sqlstate", None) in _CONFLICTS
