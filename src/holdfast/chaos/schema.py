"""A value for a JSON schema: small, deterministic, the same for the same schema and nonce.

Covers what structured output and the usual libraries of models say: all of JSON Schema's words for values, objects, lists
and their combination, ``$ref`` into the same document, and Gemini's own words (types in capitals, ``nullable``,
``propertyOrdering``). What is made is checked against the schema; where none is found it is said why, and never is a value
told that doesn't follow.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

from holdfast.chaos.schemas.check import Check
from holdfast.chaos.schemas.document import Document
from holdfast.chaos.schemas.errors import SchemaError
from holdfast.chaos.schemas.make import Maker

__all__ = ["SchemaError", "text_for", "value_for"]

_MARK = "\ue000:nonce"
_SMALL = 16_384  # bytes of a schema whose text is kept
_BY_NONCE = re.compile(rb'Length"|"pattern|"uniqueItems"|"propertyNames"|"not"|"oneOf"|"if"|\xee\x80\x80')
"""Where a schema says one of these, another nonce may need another value."""


def text_for(schema: Any, nonce: str, *, vary: bool = False) -> str:
    """JSON text that follows ``schema``; strings carry ``nonce`` and a number, where nothing is said about them.

    ``vary``: all that the schema leaves open is drawn, by ``nonce``. Raises :class:`SchemaError`.
    """
    try:
        # An agent sends the same schemas in all its requests; of most, only the nonce in their values is new.
        key = msgspec.json.encode(schema)
        if not vary and len(key) <= _SMALL and not _BY_NONCE.search(key):
            return _marked(key).replace(_MARK, msgspec.json.encode(nonce)[1:-1].decode())
        return msgspec.json.encode(value_for(schema, nonce, vary=vary)).decode()
    except RecursionError:
        raise SchemaError("it is nested too deeply") from None


def value_for(schema: Any, nonce: str, *, vary: bool = False) -> Any:
    """A value that follows ``schema``; see :func:`text_for`. Raises :class:`SchemaError`."""
    document = Document(schema)
    try:
        value = Maker(document, nonce, vary=vary).make(schema)
        # Parts that can't go wrong weren't looked at as they were made; the whole is, so that no mistake is ever told.
        if not Check(document).holds(schema, value):
            raise SchemaError("no value was found that follows it")
    except SchemaError:
        raise
    except RecursionError:
        raise SchemaError("it is nested too deeply") from None
    except (TypeError, AttributeError, ValueError, KeyError, ArithmeticError) as error:
        # A schema is the caller's text: any of its keywords may have any shape.
        raise SchemaError(f"this is no JSON schema: {error}") from None
    return value


@lru_cache(128)
def _marked(schema: bytes) -> str:
    """The text, with a mark for the nonce."""
    value = value_for(msgspec.json.decode(schema), _MARK)
    return msgspec.json.encode(value).decode()
