"""What providers of Chat Completions do each in their own way: thoughts, usage, and fields beside the common ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos import signature
from holdfast.chaos.wire.openai_chat import azure_filters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.chaos.answer import Choice, Usage

__all__ = ["AZURE", "DEEPSEEK", "NANO_PER_TOKEN", "OPENAI", "OPENROUTER", "Flavour"]

_encode = msgspec.json.Encoder().encode
_FORMAT = "anthropic-claude-v1"
NANO_PER_TOKEN = 1_000  # what OpenRouter says that a token costs


class Flavour:
    """OpenAI's own way; each other provider's is a subclass."""

    id_prefix = "chatcmpl-"
    head: Mapping[str, Any] = {"service_tier": "default", "system_fingerprint": "fp_chaos"}
    """What every body and chunk says."""
    beside: Mapping[str, Any] = {}
    """What a whole body says more."""
    first_event = b""
    """What a stream begins with, before any choice."""
    always_usage = False
    """Whether a stream tells its usage unasked."""
    usage_choices = b"[]"
    """What stands for choices in the event that tells it."""
    delta = b""
    """What every delta begins with."""
    quiet = b""
    """What a delta without a text says."""

    def finish(self, reason: str | None) -> dict[str, Any]:
        """What stands beside a delta, the last one of a choice if there is a ``reason``."""
        return {"logprobs": None, "finish_reason": reason}

    def opened(self) -> dict[str, Any]:
        """What stands beside the delta that opens a choice."""
        return self.finish(None)

    def whole(self, reason: str) -> dict[str, Any]:
        """What stands beside a whole message."""
        return self.finish(reason)

    def thought(self, token: bytes) -> tuple[bytes, int]:
        """The delta that says ``token`` (JSON), and where the token stands in it."""
        head = b'{"reasoning_content":'
        return head + token + b"}", len(head)

    def signed(self, choice: Choice) -> bytes | None:  # noqa: ARG002  # others sign
        """The delta that ends the thoughts."""
        return None

    def message(self, choice: Choice) -> dict[str, Any]:
        """What a whole message says beside its text and calls."""
        beside: dict[str, Any] = {"refusal": None, "annotations": []}
        return beside | self._thoughts(choice)

    def usage(self, usage: Usage) -> dict[str, Any]:
        return {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": usage.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def _thoughts(self, choice: Choice) -> dict[str, Any]:
        return {"reasoning_content": "".join(choice.reasoning)} if choice.reasoning else {}


class _Azure(Flavour):
    """Its filters tell what they found in the prompt, and in what was said so far."""

    head: Mapping[str, Any] = {"system_fingerprint": "fp_chaos"}
    beside: Mapping[str, Any] = {"prompt_filter_results": azure_filters.PROMPT}
    first_event = (
        b"data: "
        + _encode(
            {
                "choices": [],
                "created": 0,
                "id": "",
                "model": "",
                "object": "",
                "prompt_filter_results": azure_filters.PROMPT,
            }
        )
        + b"\n\n"
    )

    def finish(self, reason: str | None) -> dict[str, Any]:
        told = azure_filters.DELTA if reason is None else azure_filters.at_end(reason)
        return {"content_filter_results": told, **super().finish(reason)}

    def opened(self) -> dict[str, Any]:
        return {"content_filter_results": {}, **super().finish(None)}

    def whole(self, reason: str) -> dict[str, Any]:
        return {"content_filter_results": azure_filters.of_whole(reason), **super().finish(reason)}

    def message(self, choice: Choice) -> dict[str, Any]:
        return {"refusal": None, **self._thoughts(choice)}


class _DeepSeek(Flavour):
    head: Mapping[str, Any] = {"system_fingerprint": "fp_chaos"}

    def message(self, choice: Choice) -> dict[str, Any]:
        return self._thoughts(choice)

    def usage(self, usage: Usage) -> dict[str, Any]:
        return {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "prompt_cache_hit_tokens": usage.cached_tokens,
            "prompt_cache_miss_tokens": usage.prompt_tokens - usage.cached_tokens,
        }


class _OpenRouter(Flavour):
    """Thoughts come twice, as text and as details, which are signed."""

    id_prefix = "gen-"
    head: Mapping[str, Any] = {"provider": "Chaos"}
    always_usage = True
    delta = b'"role":"assistant",'
    quiet = b'"role":"assistant","content":""'
    usage_choices = (
        b'[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null,'
        b'"native_finish_reason":null}]'
    )

    def finish(self, reason: str | None) -> dict[str, Any]:
        return {"logprobs": None, "finish_reason": reason, "native_finish_reason": reason}

    def thought(self, token: bytes) -> tuple[bytes, int]:
        head = b'{"role":"assistant","content":"","reasoning":'
        details = b',"reasoning_details":[{"type":"reasoning.text","text":%b,"format":"%b","index":0}]}'
        return head + token + details % (token, _FORMAT.encode()), len(head)

    def signed(self, choice: Choice) -> bytes | None:
        if not choice.reasoning:
            return None
        detail = {"type": "reasoning.text", "signature": _signature(choice), "format": _FORMAT, "index": 0}
        delta = {"role": "assistant", "content": "", "reasoning": None, "reasoning_details": [detail]}
        return _encode(delta)

    def message(self, choice: Choice) -> dict[str, Any]:
        if not choice.reasoning:
            return {"refusal": None, "reasoning": None}
        text = "".join(choice.reasoning)
        detail = {
            "type": "reasoning.text",
            "text": text,
            "signature": _signature(choice),
            "format": _FORMAT,
            "index": 0,
        }
        return {"refusal": None, "reasoning": text, "reasoning_details": [detail]}

    def usage(self, usage: Usage) -> dict[str, Any]:
        cost = usage.total_tokens * NANO_PER_TOKEN / 10**9
        return {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "cost": cost,
            "is_byok": False,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
            "cost_details": {
                "upstream_inference_cost": None,
                "upstream_inference_prompt_cost": usage.prompt_tokens * NANO_PER_TOKEN / 10**9,
                "upstream_inference_completions_cost": usage.completion_tokens * NANO_PER_TOKEN / 10**9,
            },
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "image_tokens": 0},
        }


def _signature(choice: Choice) -> str:
    return signature.made("openrouter", "".join(choice.reasoning), choice.salt)


OPENAI = Flavour()
AZURE = _Azure()
DEEPSEEK = _DeepSeek()
OPENROUTER = _OpenRouter()
