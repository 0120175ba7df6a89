"""The bundled price data: what is believed of its matches, and that nothing is opened to read it."""

import subprocess
import sys

import pytest

from holdfast.providers import snapshot


def listed_id(provider, model):
    listed = snapshot.find(provider, model)
    return None if listed is None else listed.id


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("OpenAI", "GPT-4O", "gpt-4o"),
        ("openai", "openai/gpt-4o", "gpt-4o"),
        ("openai", "models/gpt-4o", "gpt-4o"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-4o-20240806", "gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),  # a dearer snapshot of its own
        ("openai", "gpt-4-0613", "gpt-4"),
        ("openai", "gpt-5.6-sol-2026-10-01", "gpt-5.6-sol"),
        ("openai", "ft:gpt-4o-2024-08-06:our-org::id", "ft:gpt-4o"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4-0"),
        ("gemini", "models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("gemini", "gemini-2.5-flash-preview-05-20", "gemini-2.5-flash-preview"),
        ("gemini", "gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("openai", "computer-use-preview-2025-03-11", "computer-use"),
        ("deepseek", "deepseek-chat", "deepseek-chat"),
        ("openrouter", "openai/gpt-4o-mini", "openai/gpt-4o-mini"),
        ("azure", "gpt-4o-mini", "gpt-4o-mini"),  # a deployment that is called as its model is
        ("azure", "GPT-5-Mini", "gpt-5-mini"),
        ("azure", "gpt-4o-2024-08-06", "gpt-4o"),
        ("azure", "gpt-35-turbo", "gpt-3.5-turbo"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4.5"),
        ("openrouter", "openrouter/openai/gpt-4o", "openai/gpt-4o"),
        ("openrouter", "OpenAI/GPT-5-2025-08-07", "openai/gpt-5"),
        ("openrouter", "openai/gpt-5:batch", "openai/gpt-5:batch"),
        ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("anthropic", "anthropic/Claude-Haiku-4-5", "claude-haiku-4-5"),
        ("anthropic", "claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("xai", "grok-4-0709", "grok-4-0709"),
        ("mistral", "mistral-large-latest", "mistral-large"),
        ("vertex", "gemini-2.5-pro", "gemini-2.5-pro"),
        ("vertex", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("vertex", "claude-opus-4-6@20260101", "claude-opus-4-6"),
        ("bedrock", "amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("aws", "us.meta.llama3-1-8b-instruct-v1:0", "meta.llama3-1-8b-instruct-v1:0"),
        (
            "bedrock",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            "regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "bedrock",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "bedrock",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
    ],
)
def test_known_names(provider, model, expected):
    assert listed_id(provider, model) == expected


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4-foo-unknown"),
        ("openai", "gpt-4o-foo"),
        ("openai", "gpt-4o-2029-01-01"),  # a snapshot nobody listed may have a price of its own
        ("openai", "gpt-5-nano-foo"),  # the data's own match says gpt-5-nano
        ("openai", "ft:gpt-4o-2024-08-06-lookalike:org::id"),
        ("openai", "claude-sonnet-4-5"),
        ("anthropic", "claude-3-opus-foo"),  # the data's own match says Claude 3 Opus
        ("deepseek", "deepseek-r1-distill-llama-70b"),  # the data's own match says deepseek-reasoner
        ("deepseek", "deepseek-chat-foo"),
        ("openrouter", "gpt-4o"),
        ("openrouter", "openai/gpt-5:nitro"),  # goes to whoever is quickest, at their price
        ("openrouter", "openai/gpt-5:online"),  # searches each time
        ("bedrock", "us.anthropic.claude-foo-v1:0"),
        ("bedrock", "amazon.nova-pro-foo-v1:0"),
        ("azure", "my-gpt-4o"),
        ("wall", "gpt-4o"),  # somebody's own server, whatever it calls its models
        ("wall", "fb-ok"),
        ("meta", "fb-ok"),
        ("openai", ""),
        ("openai", "ft:gpt-4o-2024-08-06:" + "x" * 300),  # longer than any real name
    ],
)
def test_an_unknown_name_is_nobody_s_relative(provider, model):
    assert snapshot.find(provider, model) is None


def test_nearly_every_listed_name_is_still_found():
    """The tighter match loses no real name: only stumps such as ``gpt-5-nano-``, which no provider answers to."""
    lost = {
        (provider, name)
        for provider, seller_id in snapshot.SELLERS.items()
        for listed in snapshot.load()[seller_id].models
        for name in {listed.id, *snapshot._literals(listed.match)}
        if snapshot.load()[seller_id].find_model(name) is not None and snapshot.find(provider, name) is None
    }
    assert {name for _, name in lost if name[-1] not in "-@"} == set()


def test_every_seller_is_in_the_data():
    assert set(snapshot.SELLERS.values()) <= snapshot.load().keys()


OFFLINE = """
import sys, threading
def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.bind"):
        raise SystemExit(f"network: {event} {args}")
sys.addaudithook(refuse)
from holdfast.providers.prices import PriceBook
book = PriceBook()
assert book.price("wall", "fb-ok", 0) is None
assert "genai_prices" not in sys.modules, "loaded before it was needed"
assert book.price("openai", "gpt-4o", 1_790_000_000 * 10**9) is not None
assert threading.active_count() == 1, threading.enumerate()
"""


def test_prices_open_no_connection_start_no_thread_and_load_late():
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
