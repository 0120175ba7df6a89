"""Six providers in this process that no key is needed for: what a newcomer talks to, and may break."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from holdfast.chaos import ChaosConfig, run_chaos
from holdfast.providers.catalog import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["BREAK_FIRST", "CUT_STREAM", "PATHS", "simulated_providers", "what_to_set"]

PATHS: Final = {
    "openai": "/v1",
    "anthropic": "/v1",
    "deepseek": "",
    "gemini": "/v1beta",
    "azure": "",
    "openrouter": "/api/v1",
}
"""Each provider that is played, with what stands before its API's paths."""
BREAK_FIRST: Final = "break openai"
"""In a prompt: the first provider refuses, so that the second answers."""
CUT_STREAM: Final = "cut the stream"
"""In a prompt: whoever answers breaks off in the middle."""

_PACE: Final = {"ttft": 0.2, "tps": 40}  # quick enough not to bore, slow enough to be seen streaming


@contextmanager
def simulated_providers() -> Iterator[Mapping[str, str]]:
    """Base URLs by name, on free ports of the loopback; they live in threads of their own until the end of the block."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(run_chaos(_config(name))).url + path for name, path in PATHS.items()}


def _config(name: str) -> ChaosConfig:
    text = f"This is {name}, simulated. No real model answers here: set {what_to_set(name)} and start again."
    answer: dict[str, Any] = {"prose": text, **_PACE}
    markers: dict[str, Any] = {CUT_STREAM: {**answer, "cut": {"how": "reset", "after": 8}}}
    if name == next(iter(PATHS)):
        markers[BREAK_FIRST] = "503"
    return ChaosConfig(
        seed=list(PATHS).index(name),  # else their answers would share ids
        default=answer,
        markers=markers,
        models=(PROVIDERS[name].default_model or "",),
        journal_entries=100,  # nobody reads it here, and the gateway may run for weeks
        journal_bytes=2**20,
    )


def what_to_set(name: str) -> str:
    """The environment's variables without which that provider isn't used."""
    row = PROVIDERS[name]
    return row.key_env[0] + (f" and {row.base_url_env}" if not row.base_url else "")
