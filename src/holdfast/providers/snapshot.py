"""The one place that touches genai-prices: its bundled data, as a list we look things up in.

Three things differ from using it directly. Its import takes about 0.3 s, so it waits until a price is first asked for.
Its updater, the only part that opens a connection, is never started, and the data read is the bundled one whatever
anybody else in the process has set. And its match is loose: "claude-3-opus-anything" is Claude 3 Opus to it; a
listed model is believed here only if the name is one of its own, or one of them with a date.
"""

from __future__ import annotations

import re
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from genai_prices.types import MatchLogic, ModelInfo
    from genai_prices.types import Provider as Seller

__all__ = ["LONGEST_NAME", "SELLERS", "find", "load", "models_of", "newest", "normal", "undated", "version"]

SELLERS: Mapping[str, str] = {
    # Our name of a provider -> its id in the data. A provider that isn't here has no listed price.
    "anthropic": "anthropic",
    "aws": "aws",
    "azure": "azure",
    "bedrock": "aws",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "moonshotai": "moonshotai",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "vertex": "google",
    "xai": "x-ai",
}

LONGEST_NAME = 256
"""Characters of a model's name. Names come from callers; no listed one is half as long."""

_DATE = re.compile(r"[-@]20\d\d-?[01]\d-?[0-3]\d$")  # -2024-08-06, -20240806, @20240806
_SNAPSHOT = re.compile(r"-(?:[01]\d-[0-3]\d|[01]\d-20\d\d|\d{3,4})$")  # -08-06, -08-2024, -0613, -001: vaguer
_REVISION = re.compile(r"-v\d+(?::\d+)?$")  # Bedrock's -v1:0
_REGION = re.compile(r"^(?:apac|au|eu|jp|us|us-gov)\.")  # Bedrock's, whose prices are those of one region
_SHELF = re.compile(r"^(?:publishers/[a-z0-9-]+/)?models/")  # Google's
_DAY = re.compile(
    r"\b20[2-9]\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])\b"
)  # 29 to 31 aren't days of every month
_CHANNEL = re.compile(r"-(?:latest|preview)$")


@cache
def load() -> Mapping[str, Seller]:
    """Read the data: 0.3 s, once. Call it in a thread before serving, or the first price pays for it."""
    from genai_prices.data import providers

    return {seller.id: seller for seller in providers}


@cache
def version() -> str:
    """The data's version, which is the package's."""
    from genai_prices import __version__

    return __version__


def normal(provider: str, model: str) -> str:
    """A model's name as lists have it: lower case, without ``models/`` and without its provider's own prefix."""
    return _SHELF.sub("", model.lower()).removeprefix(f"{provider.lower()}/")


def undated(name: str) -> str:
    """``name`` without a full date at its end. Fewer digits may be a size as well as a date, and stay."""
    return _DATE.sub("", name)


def newest(today: date) -> date:
    """The newest day up to ``today`` that the data speaks of: it was put together then or later."""
    days = {date(2024, 1, 1)}
    for seller in load().values():
        for model in seller.models:
            days |= {date.fromisoformat(day) for day in _DAY.findall(model.price_comments or "")}
            periods = model.prices if isinstance(model.prices, list) else []
            for condition in (*periods, *(model.price_variants or ())):
                day = getattr(condition.constraint, "start_date", None)
                if isinstance(day, date):
                    days.add(day)
    return max(day for day in days if day <= max(today, date(2024, 1, 1)))


def models_of(provider: str) -> tuple[ModelInfo, ...]:
    """What is listed of ``provider``, by our name of it; nothing where it is nobody we know."""
    seller_id = SELLERS.get(provider.lower())
    return () if seller_id is None else tuple(load()[seller_id].models)


def find(provider: str, model: str) -> ModelInfo | None:
    """The listed model of that very name (or of that name with a date), or None; never a relative of it.

    Args:
        provider: our name of the provider.
        model: as the caller wrote it; any case, with or without ``models/`` or the provider's prefix.
    """
    seller_id = SELLERS.get(provider.lower())
    if seller_id is None or len(model) > LONGEST_NAME:
        return None
    sellers = load()
    seller = sellers[seller_id]
    as_written = model.lower()
    for name in dict.fromkeys((as_written, normal(provider, model))):
        listed = seller.find_model(name, all_providers=list(sellers.values()))
        if listed is not None and _is_called(listed, name):
            return listed
    return None


def _is_called(listed: ModelInfo, name: str) -> bool:
    if name.startswith("ft:"):
        # ft:gpt-4o-2024-08-06:our-org::id costs what its base does, so the base is what must be known
        name = ":".join(name.split(":", 2)[:2])
        return any(
            prefix.startswith("ft:") and re.fullmatch(r"[-\d]*", name.removeprefix(prefix)) is not None
            for prefix in _prefixes(listed.match)
            if name.startswith(prefix)
        )
    names = {listed.id.lower(), *(text.rstrip("-.@:") for text in _literals(listed.match))}
    forms = {name}
    for form in (_REGION, _REVISION, _DATE, _SNAPSHOT, _CHANNEL):
        forms |= {form.sub("", each) for each in forms}
    return not forms.isdisjoint(names)


def _clauses(match: MatchLogic) -> Iterator[MatchLogic]:
    yield match
    for inner in (*getattr(match, "or_", ()), *getattr(match, "and_", ())):
        yield from _clauses(inner)


def _literals(match: MatchLogic) -> Iterator[str]:
    for clause in _clauses(match):
        for kind in ("equals", "starts_with", "ends_with", "contains"):
            text = getattr(clause, kind, None)
            if text is not None:
                yield text.lower()


def _prefixes(match: MatchLogic) -> Iterator[str]:
    for clause in _clauses(match):
        text = getattr(clause, "starts_with", None) or getattr(clause, "equals", None)
        if text is not None:
            yield text.lower()
