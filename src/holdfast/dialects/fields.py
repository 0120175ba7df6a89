"""What can be asked, field by field, in the neutral model's words; each dialect says where each of them goes.

A dialect's table (``dialects/NAME/fields.py``) has a row for every name in :data:`NEUTRAL`. The page on translations is made
from these tables, and the tests hold them against what the codecs do: a :class:`Said` field is found at its path and comes
back, a :class:`Cant` field raises CantExpress with that field's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["HARMLESS", "NEUTRAL", "Cant", "Said", "Table"]


class Said(msgspec.Struct, frozen=True):
    """The dialect says it at ``path`` (list positions left out: ``messages[].content``)."""

    path: str
    note: str = ""
    """What is different about it there, in a few words."""
    back: bool = True
    """Whether reading it back gives the same; ``note`` says why where it doesn't."""


class Cant(msgspec.Struct, frozen=True):
    """The dialect has no way to say it."""

    why: str = ""


Table = Mapping[str, Said | Cant]
"""One dialect's answers, by the names in :data:`NEUTRAL`."""

NEUTRAL: Final[Mapping[str, str]] = {
    "system": "A system prompt before the conversation",
    "system.several": "Several system prompts before the conversation, each as a text of its own",
    "system.later": "A system prompt in the middle of the conversation",
    "role.developer": "The role developer instead of system",
    "name": "The name of who speaks",
    "text": "Text",
    "image.data": "An image, as base64",
    "image.url": "An image by its address",
    "image.file_id": "An image that the provider keeps",
    "image.detail": "How closely to look at an image",
    "audio.data": "Audio, as base64",
    "file.data": "A file (PDF), as base64",
    "file.url": "A file by its address",
    "file.file_id": "A file that the provider keeps",
    "file.filename": "A file's name",
    "video.data": "A video, as base64",
    "video.url": "A video by its address",
    "refusal": "A refusal in the conversation so far",
    "citations": "Citations on a text in the conversation so far",
    "reasoning.text": "A thought in the conversation so far",
    "reasoning.signature": "A thought's signature by the provider that is asked",
    "reasoning.encrypted": "A thought that only the provider that is asked can read",
    "reasoning.foreign": "A thought that another provider signed or encrypted",
    "tool_call": "A tool call",
    "tool_call.id": "A tool call's id",
    "tool_call.signature": "A tool call's signature by the provider that is asked",
    "tool_calls.parallel": "Several tool calls in one turn, each with its result",
    "tool_result.text": "A tool's result as text",
    "tool_result.image": "An image in a tool's result",
    "tool_result.file": "A file in a tool's result",
    "tool_result.is_error": "A tool's failure",
    "cache_control": "A mark up to which the provider may cache",
    "tools": "A function that the model may call: name, description, JSON Schema",
    "tools.strict": "Arguments that must fit the schema",
    "tools.provider": "A tool that the provider runs itself",
    "tool_choice.auto": "The model may call a tool",
    "tool_choice.none": "No tool may be called",
    "tool_choice.required": "Some tool must be called",
    "tool_choice.named": "One tool must be called",
    "tool_choice.some": "One of some tools must be called",
    "parallel_tool_calls": "Whether several tools may be called in one turn",
    "output.text": "An answer in plain text, said explicitly",
    "output.json_object": "An answer in JSON",
    "output.json_schema": "An answer that fits a JSON Schema",
    "output.name": "The schema's name",
    "output.strict": "Whether the schema must be kept to the letter",
    "reasoning.enabled": "Whether to think",
    "reasoning.effort": "How much to think, in a word",
    "reasoning.budget_tokens": "How much to think, in tokens",
    "temperature": "Sampling temperature",
    "top_p": "Nucleus sampling",
    "top_k": "Sampling among the k likeliest",
    "min_p": "Sampling above a share of the likeliest",
    "frequency_penalty": "Penalty by frequency",
    "presence_penalty": "Penalty by presence",
    "repetition_penalty": "Penalty by repetition",
    "seed": "A seed for sampling",
    "logprobs": "Log probabilities of the answer's tokens",
    "top_logprobs": "Log probabilities of the likeliest alternatives",
    "logit_bias": "A bias on tokens",
    "stop": "Texts that end the answer",
    "n": "Several alternatives",
    "max_output_tokens": "The longest answer, in tokens",
    "user": "An id of the end user",
    "metadata": "Labels that the provider keeps",
}
"""Name of each field, as CantExpress and a route's ``drop`` give it, to what it means."""

HARMLESS: Final[frozenset[str]] = frozenset(
    {
        "cache_control",
        "citations",
        "output.name",
        "output.text",
        "reasoning.encrypted",
        "reasoning.foreign",
        "reasoning.signature",
        "reasoning.text",
        "tool_call.signature",
    }
)
"""What a route permits to leave out unless it says otherwise, and tells in ``x-holdfast-dropped``.

Hints to one provider, and its own earlier thoughts, signed for itself: another one can't use them, and what the conversation
says stays whole. Without this no conversation with a thinking block could ever fall back.
"""
