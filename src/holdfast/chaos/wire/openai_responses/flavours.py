"""What providers of the Responses API do each in their own way: ids, thoughts, what they store, fields beside the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.chaos.wire.openai_chat import azure_filters
from holdfast.chaos.wire.openai_chat.flavours import NANO_PER_TOKEN
from holdfast.chaos.wire.openai_responses import ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.chaos.answer import Choice, Usage
    from holdfast.chaos.draws import Draw

__all__ = ["AZURE", "DEEPSEEK", "OPENAI", "OPENROUTER", "SUMMARY", "TEXT", "THOUGHT", "Channel", "Flavour"]


class Channel(NamedTuple):
    """How a stream tells a part of an item, piece by piece."""

    part: str
    """The event that adds it, without ``.added``."""
    said: str
    """The event of a piece, without ``.delta``."""
    number: str
    """What the part's number in its item is called."""
    empty: Mapping[str, Any]
    """The part before anything is said; its ``text`` comes last."""
    beside: Mapping[str, Any] = {}
    """What each event says beside a text."""


_PART = "response.content_part"
_PROMPT = dict[str, Any](azure_filters.PROMPT[0])["content_filter_results"]
_NO_LOGPROBS: dict[str, Any] = {"logprobs": []}
TEXT = Channel(
    _PART,
    "response.output_text",
    "content_index",
    {"type": "output_text", "annotations": [], **_NO_LOGPROBS, "text": ""},
    _NO_LOGPROBS,
)
SUMMARY = Channel(
    "response.reasoning_summary_part",
    "response.reasoning_summary_text",
    "summary_index",
    {"type": "summary_text", "text": ""},
)
THOUGHT = Channel(_PART, "response.reasoning_text", "content_index", {"type": "reasoning_text", "text": ""})
_REASONING = {"context": "current_turn", "effort": "medium", "mode": "standard", "summary": None}


class Flavour:
    """OpenAI's own way; each other provider's is a subclass."""

    issuer = "openai responses"
    """Whose ids and encrypted thoughts are known again."""
    strict = True
    """Whether unknown fields, foreign ids and thoughts torn from what they led to are refused."""
    stores = True
    """Whether answers are kept unless the request says no; else they never are."""
    loose_outputs = True
    """Whether the outputs of calls may stand anywhere after them."""
    least_output = 16
    """The smallest ``max_output_tokens``."""
    always_tells = False
    """Whether thoughts are told unasked."""
    encrypts = True
    """Whether its thoughts can be had encrypted."""
    thoughts = SUMMARY
    reasoning: Mapping[str, Any] = {"effort": None, "summary": None}
    """What answers say of it where the request doesn't."""
    text: Mapping[str, Any] = {"verbosity": "medium"}
    """What they say beside its format, likewise."""
    retention: str | None = None
    beside_reasoning: Mapping[str, Any] = {}
    """What a reasoning item says more once it is done."""
    never: tuple[str, ...] = ()
    """Fields of OpenAI's that its answers don't have."""

    def answer_id(self, draw: Draw) -> str:
        return ids.made(self.issuer, "resp", draw.hex("id", 32))

    def item_id(self, kind: str, digits: str, *, stored: bool) -> str:
        return ids.made(self.issuer, kind, digits, stored=stored)

    def knows(self, given: str) -> bool:
        """Whether it stored what has this id."""
        return self.stores and ids.known(self.issuer, given)

    def beside(self, choice: Choice | None) -> dict[str, Any]:  # noqa: ARG002  # others look at it
        """What its answers say more; ``choice`` is None until there is one."""
        return {"moderation": None}

    def whole(self) -> dict[str, Any]:
        """What an answer that isn't streamed says more."""
        return {"billing": {"payer": "developer"}}

    def usage(self, usage: Usage) -> dict[str, Any]:
        return _usage(usage, cache_write_tokens=usage.cache_written_tokens)


class _Azure(Flavour):
    """Its filters tell what they found, once the answer is over."""

    issuer = "azure responses"
    reasoning: Mapping[str, Any] = _REASONING
    retention = "in_memory"

    def beside(self, choice: Choice | None) -> dict[str, Any]:
        if choice is None:
            return {"content_filters": None, "moderation": None}
        said = azure_filters.of_whole(choice.finish)
        blocked = choice.finish == "content_filter"
        size = sum(map(len, choice.text))
        found = [_filtered("prompt", _PROMPT, 0), _filtered("completion", said, size, blocked=blocked)]
        return {"content_filters": found, "moderation": None}

    def whole(self) -> dict[str, Any]:
        return {}

    def usage(self, usage: Usage) -> dict[str, Any]:
        return _usage(usage)


class _DeepSeek(Flavour):
    """Nothing is stored, and thoughts are told as they are."""

    issuer = "deepseek responses"
    strict = False
    stores = False
    loose_outputs = False
    least_output = 1
    always_tells = True
    encrypts = False
    thoughts = THOUGHT
    text: Mapping[str, Any] = {"verbosity": None}
    beside_reasoning: Mapping[str, Any] = {"status": "completed"}

    def answer_id(self, draw: Draw) -> str:
        return _uuid(draw.hex("id", 32))

    def item_id(self, kind: str, digits: str, *, stored: bool) -> str:
        return _uuid(ids.made(self.issuer, kind, digits, stored=stored)[-32:])

    def beside(self, choice: Choice | None) -> dict[str, Any]:  # noqa: ARG002  # others look at it
        return {"content_filters": None, "moderation": None}

    def whole(self) -> dict[str, Any]:
        return {}

    def usage(self, usage: Usage) -> dict[str, Any]:
        return _usage(usage)


class _OpenRouter(Flavour):
    """Nothing is stored; it tells what an answer costs."""

    issuer = "openrouter responses"
    strict = False
    stores = False
    least_output = 1
    always_tells = True
    reasoning: Mapping[str, Any] = {**_REASONING, "summary": "detailed"}
    text: Mapping[str, Any] = {}
    never = ("prompt_cache_retention", "user")

    def answer_id(self, draw: Draw) -> str:
        return f"gen-{draw.hex('id', 28)}"

    def beside(self, choice: Choice | None) -> dict[str, Any]:  # noqa: ARG002  # others look at it
        return {}

    def whole(self) -> dict[str, Any]:
        return {}

    def usage(self, usage: Usage) -> dict[str, Any]:
        told = _usage(usage, cache_write_tokens=usage.cache_written_tokens)
        cost = _dollars(usage.total_tokens)
        details = {
            "upstream_inference_cost": cost,
            "upstream_inference_input_cost": _dollars(usage.prompt_tokens),
            "upstream_inference_output_cost": _dollars(usage.completion_tokens),
        }
        return {**told, "cost": cost, "is_byok": False, "cost_details": details}


def _usage(usage: Usage, **input_details: int) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {**input_details, "cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _filtered(source: str, results: Mapping[str, Any], size: int, *, blocked: bool = False) -> dict[str, Any]:
    return {
        "blocked": blocked,
        "source_type": source,
        "content_filter_raw": [],
        "content_filter_results": results,
        "content_filter_offsets": {"check_offset": 0, "start_offset": 0, "end_offset": size},
    }


def _dollars(tokens: int) -> float:
    return tokens * NANO_PER_TOKEN / 10**9


def _uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"


OPENAI = Flavour()
AZURE = _Azure()
DEEPSEEK = _DeepSeek()
OPENROUTER = _OpenRouter()
