"""A value for a JSON schema: small, deterministic, the same for the same schema and nonce.

Covers what structured output and the usual libraries of models say: all of JSON Schema's words for values, objects, lists
and their combination, ``$ref`` into the same document, and Gemini's own words (types in capitals, ``nullable``,
``propertyOrdering``). What is made is checked against the schema; where none is found it is said why, and never is a value
told that doesn't follow.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.chaos.schemas.check import Check
from holdfast.chaos.schemas.document import Document
from holdfast.chaos.schemas.errors import SchemaError
from holdfast.chaos.schemas.make import Maker

__all__ = ["SchemaError", "text_for", "value_for"]


def text_for(schema: Any, nonce: str, *, vary: bool = False) -> str:
    """JSON text that follows ``schema``; strings carry ``nonce`` and a number, where nothing is said about them.

    ``vary``: all that the schema leaves open is drawn, by ``nonce``. Raises :class:`SchemaError`.
    """
    return msgspec.json.encode(value_for(schema, nonce, vary=vary)).decode()


def value_for(schema: Any, nonce: str, *, vary: bool = False) -> Any:
    """A value that follows ``schema``; see :func:`text_for`. Raises :class:`SchemaError`."""
    document = Document(schema)
    try:
        value = Maker(document, nonce, vary=vary).make(schema)
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
