"""Keys as statements on a connection. The caller is within a transaction, and commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from holdfast.ledger.keys import MOST_TEXTS, KeyBudget, KeyLimits, KeyRate, KeyText, StoredKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from holdfast.ledger.statement import Connection

__all__ = ["Before", "change", "create", "every", "forget", "one", "revoke", "rotate", "take_back", "touch"]

_KEYS: Final = """
SELECT id, name, kind, team, tags, routes, models, rate, budgets, created_ns, expires_ns, revoked_ns FROM keys
"""
_ALL: Final = _KEYS + "ORDER BY created_ns, id"
_ONE: Final = _KEYS + "WHERE lower(name) = ?"
_TEXTS: Final = """
SELECT key_id, sha256, prefix, created_ns, until_ns, last_used_ns FROM key_texts
"""
_NEWEST_FIRST: Final = "ORDER BY until_ns IS NOT NULL, created_ns DESC, sha256"
_ALL_TEXTS: Final = _TEXTS + _NEWEST_FIRST
_ITS_TEXTS: Final = _TEXTS + "WHERE key_id = ? " + _NEWEST_FIRST

_CREATE: Final = """
INSERT INTO keys (
    id, name, kind, team, tags, routes, models, rate, budgets, expires_ns, created_ns, revoked_ns
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_ADD_TEXT: Final = """
INSERT INTO key_texts (key_id, sha256, prefix, created_ns, until_ns, last_used_ns) VALUES (?, ?, ?, ?, ?, ?)"""
_CHANGE: Final = """
UPDATE keys SET team = ?, tags = ?, routes = ?, models = ?, rate = ?, budgets = ?, expires_ns = ?
WHERE lower(name) = ? AND revoked_ns IS NULL"""
_REVOKE: Final = "UPDATE keys SET revoked_ns = ? WHERE lower(name) = ? AND revoked_ns IS NULL"
_END_OTHERS: Final = """
UPDATE key_texts SET until_ns = ? WHERE key_id = ? AND (until_ns IS NULL OR until_ns > ?)"""
_DROP: Final = "DELETE FROM key_texts WHERE sha256 = ?"
_DROP_ALL: Final = "DELETE FROM key_texts WHERE key_id = ?"
_FORGET: Final = "DELETE FROM keys WHERE id = ?"
_TOUCH: Final = """
UPDATE key_texts SET last_used_ns = ? WHERE sha256 = ? AND (last_used_ns IS NULL OR last_used_ns < ?)"""

_Row: TypeAlias = "tuple[Any, ...]"

Before: TypeAlias = "tuple[str, tuple[KeyText, ...]]"
"""A key's id and the texts that it had."""


def create(connection: Connection, key: StoredKey) -> bool:
    limits = _limits_row(key.limits)
    row = (key.id, key.name, key.kind, *limits, key.created_ns, key.revoked_ns)
    if not connection.execute(_CREATE, row).rowcount:
        return False
    connection.executemany(_ADD_TEXT, [_text_row(key.id, text) for text in key.texts])
    return True


def forget(connection: Connection, key_id: str) -> None:
    """As if it had never been made: its maker was told that it wasn't."""
    connection.execute(_DROP_ALL, (key_id,))
    connection.execute(_FORGET, (key_id,))


def change(connection: Connection, name: str, limits: KeyLimits, instead_of: KeyLimits) -> StoredKey | None:
    """Whoever changes keys holds their lock, so nobody else's change falls between."""
    key = _living(connection, name)
    if key is None or key.limits != instead_of:
        return key
    connection.execute(_CHANGE, (*_limits_row(limits), name.lower()))
    return one(connection, name)


def rotate(connection: Connection, name: str, text: KeyText, until_ns: int) -> StoredKey | None:
    key = _living(connection, name)
    if key is None:
        return None
    connection.execute(_END_OTHERS, (until_ns, key.id, until_ns))
    connection.executemany(_DROP, [(old.sha256,) for old in key.texts[MOST_TEXTS - 1 :]])
    connection.execute(_ADD_TEXT, _text_row(key.id, text))
    return one(connection, name)


def take_back(connection: Connection, before: Before) -> None:
    """The texts that it had, and none other."""
    key_id, texts = before
    connection.execute(_DROP_ALL, (key_id,))
    connection.executemany(_ADD_TEXT, [_text_row(key_id, text) for text in texts])


def revoke(connection: Connection, name: str, now_ns: int) -> StoredKey | None:
    connection.execute(_REVOKE, (now_ns, name.lower()))
    return one(connection, name)


def touch(connection: Connection, used: Iterable[tuple[bytes, int]]) -> None:
    connection.executemany(_TOUCH, [(ns, sha256, ns) for sha256, ns in used])


def one(connection: Connection, name: str) -> StoredKey | None:
    row = connection.execute(_ONE, (name.lower(),)).fetchone()
    if row is None:
        return None
    return _key(row, [_text(text) for text in connection.execute(_ITS_TEXTS, (row[0],)).fetchall()])


def _living(connection: Connection, name: str) -> StoredKey | None:
    key = one(connection, name)
    return None if key is None or key.revoked_ns is not None else key


def every(connection: Connection) -> Iterator[StoredKey]:
    """In the order of making."""
    texts: dict[str, list[KeyText]] = {}
    for row in connection.execute(_ALL_TEXTS).fetchall():
        texts.setdefault(row[0], []).append(_text(row))
    for row in connection.execute(_ALL).fetchall():
        yield _key(row, texts.get(row[0], []))


def _limits_row(limits: KeyLimits) -> _Row:
    return (
        limits.team,
        _json(limits.tags or None),
        _json(limits.routes),
        _json(limits.models),
        _json(limits.rate),
        _json(limits.budgets or None),
        limits.expires_ns,
    )


def _text_row(key_id: str, text: KeyText) -> _Row:
    return (key_id, text.sha256, text.prefix, text.created_ns, text.until_ns, text.last_used_ns)


def _text(row: _Row) -> KeyText:
    _, sha256, prefix, created_ns, until_ns, last_used_ns = row
    return KeyText(
        sha256=sha256, prefix=prefix, created_ns=created_ns, until_ns=until_ns, last_used_ns=last_used_ns
    )


def _key(row: _Row, texts: list[KeyText]) -> StoredKey:
    key_id, name, kind, team, tags, routes, models, rate, budgets, created_ns, expires_ns, revoked_ns = row
    limits = KeyLimits(
        team=team,
        tags=_read(tags, dict[str, str]) or {},
        routes=_read(routes, tuple[str, ...]),
        models=_read(models, tuple[str, ...]),
        rate=_read(rate, KeyRate),
        budgets=_read(budgets, tuple[KeyBudget, ...]) or (),
        expires_ns=expires_ns,
    )
    return StoredKey(
        id=key_id,
        name=name,
        kind=kind,
        limits=limits,
        texts=tuple(texts),
        created_ns=created_ns,
        revoked_ns=revoked_ns,
    )


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _read(text: str | None, kind: Any) -> Any:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, TypeError) as error:
        # A kind of error that fails its statement alone, and not the group of requests that it rides with.
        raise ValueError(f"a key's row is damaged: {error}") from error
