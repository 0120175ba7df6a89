"""Where each field of a neutral request goes in this dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.dialects.fields import Cant, Said

if TYPE_CHECKING:
    from holdfast.dialects.fields import Table

__all__ = ["FIELDS"]

_OWN_IDS: Final = "ids belong to the provider that keeps the file: one from another dialect can't be said"
_BLOCK: Final = "messages[].content[]"

FIELDS: Final[Table] = {
    "system": Said("system", "a string where it is one plain text"),
    "system.several": Said("system[].text", "a block each"),
    "system.later": Said(
        "messages[].role",
        "`system`, behind the user's next turn, which is where models since Claude Opus 4.8 take it",
    ),
    "role.developer": Said("system", "as `system`: there is one role for it", back=False),
    "name": Cant("speakers have no names"),
    "text": Said("messages[].content", "a string; a list of blocks beside other blocks"),
    "image.data": Said(f"{_BLOCK}.source.data", "JPEG, PNG, GIF, WebP"),
    "image.url": Said(f"{_BLOCK}.source.url"),
    "image.file_id": Said(f"{_BLOCK}.source.file_id", _OWN_IDS),
    "image.detail": Cant("images are looked at in one way"),
    "audio.data": Cant("no audio is taken"),
    "file.data": Said(f"{_BLOCK}.source.data", "PDF as base64, plain text as text; no other kind"),
    "file.url": Said(f"{_BLOCK}.source.url"),
    "file.file_id": Said(f"{_BLOCK}.source.file_id", _OWN_IDS),
    "file.filename": Said(f"{_BLOCK}.title"),
    "video.data": Cant("no video is taken"),
    "video.url": Cant("no video is taken"),
    "refusal": Said("messages[].content", "as text", back=False),
    "citations": Cant("they point into documents of the request; callers of this dialect can hand them back"),
    "reasoning.text": Cant("only thoughts that Anthropic signed are taken back"),
    "reasoning.signature": Said(f"{_BLOCK}.signature"),
    "reasoning.encrypted": Said(f"{_BLOCK}.data"),
    "reasoning.foreign": Cant("only its issuer can check it"),
    "tool_call": Said(f"{_BLOCK}.input", "an object: arguments that aren't one can't be said"),
    "tool_call.id": Said(
        f"{_BLOCK}.id",
        "made where another dialect gives none; characters that Anthropic refuses are spelled out",
    ),
    "tool_call.signature": Cant("calls aren't signed here"),
    "tool_calls.parallel": Said(
        f"{_BLOCK}.tool_use_id", "the results go into one message, before anything else"
    ),
    "tool_result.text": Said(f"{_BLOCK}.content", "a string where it is one plain text"),
    "tool_result.image": Said(f"{_BLOCK}.content[].source"),
    "tool_result.file": Said(f"{_BLOCK}.content[].source"),
    "tool_result.is_error": Said(f"{_BLOCK}.is_error"),
    "cache_control": Said(f"{_BLOCK}.cache_control", "on system prompts, tools and the whole request too"),
    "tools": Said("tools[].input_schema", "always an object's schema"),
    "tools.strict": Said("tools[].strict"),
    "tools.provider": Cant("what another provider runs can't be run here"),
    "tool_choice.auto": Said("tool_choice.type", "`auto`"),
    "tool_choice.none": Said("tool_choice.type", "`none`"),
    "tool_choice.required": Said("tool_choice.type", "`any`"),
    "tool_choice.named": Said("tool_choice.name"),
    "tool_choice.some": Cant("one tool can be named, or none"),
    "parallel_tool_calls": Said(
        "tool_choice.disable_parallel_tool_use",
        "beside a choice; `auto` where there is none; not where no tool may be called",
    ),
    "output.text": Said("messages", "goes without saying: nothing is added", back=False),
    "output.json_object": Cant("JSON is asked for by a schema"),
    "output.json_schema": Said("output_config.format.schema"),
    "output.name": Cant("schemas have no names"),
    "output.strict": Said("output_config.format.type", "a schema is always kept to", back=False),
    "reasoning.enabled": Said("thinking.type", "`adaptive` or `disabled`; `enabled` with a budget"),
    "reasoning.effort": Said(
        "output_config.effort", "low, medium, high, xhigh, max; `none` is `thinking` disabled"
    ),
    "reasoning.budget_tokens": Said("thinking.budget_tokens"),
    "temperature": Said("temperature"),
    "top_p": Said("top_p"),
    "top_k": Said("top_k"),
    "min_p": Cant("there is no such parameter"),
    "frequency_penalty": Cant("there is no such parameter"),
    "presence_penalty": Cant("there is no such parameter"),
    "repetition_penalty": Cant("there is no such parameter"),
    "seed": Cant("there is no such parameter"),
    "logprobs": Cant("there is no such parameter"),
    "top_logprobs": Cant("there is no such parameter"),
    "logit_bias": Cant("there is no such parameter"),
    "stop": Said("stop_sequences"),
    "n": Cant("an answer is one message"),
    "max_output_tokens": Said("max_tokens", "required: the model's largest where nobody said one"),
    "user": Said("metadata.user_id"),
    "metadata": Cant("of metadata there is only `user_id`"),
}
