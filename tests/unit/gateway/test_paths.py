"""Paths of three SDKs: which dialect, which model, which way of streaming."""

from __future__ import annotations

import pytest

from holdfast.gateway.paths import POSTS, Place, dialect_of, find


@pytest.mark.parametrize(
    ("path", "query", "place"),
    [
        ("/v1/chat/completions", b"", Place(dialect="openai_chat")),
        ("/v1/chat/completions", b"beta=true", Place(dialect="openai_chat")),
        ("/v1/messages", b"", Place(dialect="anthropic")),
        ("/v1/messages", b"beta=true", Place(dialect="anthropic", query="beta=true")),
        ("/v1/messages", b"beta=trueish", Place(dialect="anthropic")),
        ("/v1/messages", b"x=1&beta=true", Place(dialect="anthropic", query="beta=true")),
        (
            "/v1/messages/count_tokens",
            b"beta=true",
            Place(dialect="anthropic_count_tokens", query="beta=true"),
        ),
        ("/v1/responses", b"", Place(dialect="openai_responses")),
        ("/v1/embeddings", b"", Place(dialect="openai_embeddings")),
        ("/v1beta/models/g:generateContent", b"", Place(dialect="gemini", model="g", stream=False)),
        ("/v1/models/g:generateContent", b"alt=sse", Place(dialect="gemini", model="g", stream=False)),
        ("/v1beta/models/g:streamGenerateContent", b"alt=sse", Place(dialect="gemini", model="g", stream=True)),
        (
            "/v1beta/models/g:streamGenerateContent",
            b"key=k",
            Place(dialect="gemini", model="g", stream=True, array=True),
        ),
        (
            "/v1beta/models/openai/gpt-5:streamGenerateContent",
            b"key=k&alt=sse",
            Place(dialect="gemini", model="openai/gpt-5", stream=True),
        ),
        ("/v1/models/ft:a:b:countTokens", b"", Place(dialect="gemini_count_tokens", model="ft:a:b", stream=False)),
        (
            "/v1beta/tunedModels/t:generateContent",
            b"",
            Place(dialect="gemini", model="tunedModels/t", stream=False),
        ),
        (
            "/openai/deployments/d-1/chat/completions",
            b"api-version=2026-01-01",
            Place(dialect="openai_chat", model="d-1"),
        ),
        ("/openai/deployments/d/embeddings", b"", Place(dialect="openai_embeddings", model="d")),
        ("/openai/v1/responses", b"", Place(dialect="openai_responses")),
    ],
)  # fmt: skip
def test_what_a_path_asks_for(path, query, place):
    assert find(path, query) == place


@pytest.mark.parametrize(
    "path",
    [
        "/", "/v1", "/v1/message", "/v1/messages/", "/v1beta/models/:generateContent", "/v1beta/models/g:embedContent",
        "/v1beta/models/g", "/v2/models/g:generateContent", "/openai/deployments//chat/completions",
        "/openai/deployments/a/b/chat/completions", "/openai/deployments/a/images", "/v1/models",
    ],
)  # fmt: skip
def test_what_nobody_serves(path):
    assert find(path, b"") is None


@pytest.mark.parametrize(
    ("path", "headers", "dialect"),
    [
        ("/nowhere", {}, "openai_chat"),
        ("/v1/messages/nowhere", {}, "anthropic"),
        ("/v1/models", {}, "openai_chat"),
        ("/v1/models", {b"anthropic-version": b"2023-06-01"}, "anthropic"),
        ("/v1/models", {b"x-goog-api-key": b"k"}, "gemini"),
        ("/v1beta/nowhere", {}, "gemini"),
        ("/v1beta/models", {}, "gemini"),
    ],
)
def test_in_which_dialect_errors_and_lists_are_told(path, headers, dialect):
    assert dialect_of(path, headers) == dialect


def test_every_post_is_found_as_it_stands():
    assert {path: find(path, b"") for path in POSTS} == dict(POSTS)
