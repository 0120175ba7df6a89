"""The stage of ``holdfast demo``: four simulated providers in three dialects, and what goes wrong with them, in acts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.chaos import ChaosConfig, run_chaos
from holdfast.config import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.config import Config

__all__ = ["CAST", "ROUTE", "Actor", "stage"]

ROUTE: Final = "demo"


class Actor(msgspec.Struct, frozen=True):
    """One provider: ``script`` says what its first attempt gets, its second, and so on."""

    provider: str
    model: str
    dialect: str
    path: str
    """Under the simulated server's address: where this provider's API begins."""
    script: str


CAST: Final = (
    Actor(
        "openai",
        "gpt-5-mini",
        "OpenAI",
        "/v1",
        "ok x4; 429 retry-after=0.2 x3; ok x2; cut=reset after=6 x3; 503 x6; hang x2; ok x3; cut=clean x4; reset x4; ok",
    ),
    Actor(
        "anthropic",
        "claude-haiku-4-5",
        "Anthropic",
        "/v1",
        "ok x2; 529 x4; ok; error_event after=4 x3; ok x2; no_finish x3; insufficient_quota x4; ok",
    ),
    Actor("deepseek", "deepseek-v4-flash", "OpenAI", "", "500 x4; ok x2; malformed after=3 x3; 503 x4; ok"),
    Actor("gemini", "gemini-2.5-flash", "Gemini", "/v1beta", "ok"),
)
"""In the order in which they are asked."""

_PACE: Final = " ttft=0.05 tps=400"


@contextmanager
def stage(seed: int) -> Iterator[Config]:
    """A configuration whose providers all live in this process, on a free port, until the end of the block."""
    chaos = ChaosConfig(
        seed=seed,
        scripts={actor.model: _paced(actor.script) for actor in CAST},
        journal_entries=100,
        journal_bytes=2**20,
    )
    with run_chaos(chaos) as server:
        yield parse(_document(server.url), {})


def _paced(script: str) -> str:
    """Healthy answers take a moment, so that there is something to watch."""
    return "; ".join(
        f"{word}{_PACE}{rest}" if word == "ok" else step
        for step in script.split("; ")
        for word, rest in [(step[:2], step[2:])]
    )


def _document(url: str) -> dict[str, Any]:
    limits = {"connect_s": 1, "first_token_s": 1, "idle_s": 1, "total_s": 30}
    return {
        "providers": {
            actor.provider: {"base_url": url + actor.path, "api_key": "simulated"} for actor in CAST
        },
        "routes": {
            ROUTE: {
                "targets": [f"{actor.provider}/{actor.model}" for actor in CAST],
                "max_output_tokens": 200,  # bounds what an attempt without an answer may have cost
                "on_break": "buffer",  # so that an answer which breaks in the middle can come from somebody else
                "timeouts": limits,
                "retry": {"max_retries": 1, "base_s": 0.05, "max_s": 0.5, "max_attempts": 8},
            }
        },
    }
