"""Endpoints, headers, errors and metrics: ``gateway.md``."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final

from docs.tables.markdown import table
from docs.tables.meanings import MEANINGS

from holdfast import __version__, errors
from holdfast.clock import SystemClock
from holdfast.gateway.metrics import Metrics
from holdfast.gateway.openapi import openapi
from holdfast.ledger.memory import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docs.tables.markdown import Parts

__all__ = ["PARTS", "metric_rows"]

_DRAWN: Final = re.compile(
    r"[├└]── (?P<name>\w+)(?: +(?P<status>\d\d\d|4xx))?(?: {2,}(?P<text>\S.*))?$", re.MULTILINE
)
_PARENTS: Final = frozenset(("HoldfastError", "ConfigError", "Rejected", "ProviderError", "OutcomeUnknown"))
_PASSED_ON: Final = (errors.RequestRefused, errors.ModelMissing)
_MONEY: Final = {
    errors.Rejected: "nothing was sent",
    errors.ProviderError: "the provider answered",
    errors.OutcomeUnknown: "sent, no verdict",
    errors.TargetsFailed: "see its attempts",
    errors.HoldfastError: "",
}


def error_rows() -> Iterator[tuple[str, str, str, str, str]]:
    drawn = {found["name"]: found["text"] or "" for found in _DRAWN.finditer(inspect.getdoc(errors) or "")}
    for name in drawn:
        kind: type[errors.HoldfastError] = getattr(errors, name)
        if name in _PARENTS:
            continue
        money = next(said for parent, said in _MONEY.items() if issubclass(kind, parent))
        meaning = drawn[name] or MEANINGS["errors"][name]
        status = "the provider's" if issubclass(kind, _PASSED_ON) else str(kind.default_status)
        if kind is errors.TargetsFailed:
            status = "429, 502, 503 or 504"
        yield f"`{kind.label}`", status, f"`{kind.code}`", money, meaning
    own = errors.HoldfastError
    yield (
        f"`{own.label}`",
        str(own.default_status),
        f"`{own.code}`",
        "see the ledger",
        MEANINGS["errors"]["HoldfastError"],
    )


def error_table() -> str:
    return table(("label", "status", "`code`", "money", "meaning"), error_rows())


def endpoints() -> str:
    rows = [
        (f"`{method.upper()} {path}`", said["summary"], _key_for(said))
        for path, methods in openapi(__version__)["paths"].items()
        for method, said in methods.items()
    ]
    return table(("endpoint", "what", "needs a key where keys are needed"), rows)


def _key_for(said: Mapping[str, Any]) -> str:
    """What an operation asks of who calls it, where the gateway has keys."""
    ways = {way for ways in said.get("security", [{"bearer": []}]) for way in ways}
    if not ways:
        return "no"
    if "metrics" in ways:
        return "[the metrics key](#metrics)"
    return "[the admin key](#admin)" if "admin" in ways else "yes"


def answer_headers() -> str:
    told = {name: said["description"] for name, said in _chat()["responses"]["200"]["headers"].items()}
    return _headers({**told, **MEANINGS["answer headers"]})


def request_headers() -> str:
    told = {said["name"]: said["description"] for said in _chat()["parameters"]}
    return _headers({**told, **MEANINGS["request headers"]})


def _headers(told: Mapping[str, str]) -> str:
    return table(("header", "meaning"), [(f"`{name}`", said) for name, said in told.items()])


def _chat() -> dict[str, Any]:
    post: dict[str, Any] = openapi(__version__)["paths"]["/v1/chat/completions"]["post"]
    return post


def metric_rows() -> Iterator[tuple[str, str, str, str]]:
    """Name as scraped, kind, labels, meaning."""
    ledger = MemoryLedger(SystemClock())
    for family in Metrics(ledger).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = getattr(family, "_labelnames", ())  # an empty family says its labels nowhere else
        yield f"`{name}`", family.type, ", ".join(f"`{label}`" for label in labels), family.documentation


def metrics() -> str:
    return table(("metric", "type", "labels", "meaning"), metric_rows())


PARTS: Parts = {
    "endpoints": endpoints,
    "request-headers": request_headers,
    "answer-headers": answer_headers,
    "errors": error_table,
    "metrics": metrics,
}
