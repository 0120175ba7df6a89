"""Where each field of a neutral request goes in this dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.dialects.fields import Cant, Said

if TYPE_CHECKING:
    from holdfast.dialects.fields import Table

__all__ = ["FIELDS"]

_OWN_IDS = "ids belong to the provider that keeps the file: one from another dialect can't be said"
_OTHERS = "not OpenAI's own; OpenRouter, vLLM and others take it"

FIELDS: Final[Table] = {
    "system": Said("messages[].content", "a message of the role `system`"),
    "system.several": Said("messages[].content", "a message each"),
    "system.later": Said("messages[].content", "where it stands"),
    "role.developer": Said("messages[].role"),
    "name": Said("messages[].name"),
    "text": Said("messages[].content", "a string; a list of parts beside other parts"),
    "image.data": Said("messages[].content[].image_url.url", "a `data:` URL; from users only"),
    "image.url": Said("messages[].content[].image_url.url", "from users only"),
    "image.file_id": Cant("images are given as data or by address"),
    "image.detail": Said("messages[].content[].image_url.detail"),
    "audio.data": Said("messages[].content[].input_audio.data", "from users only"),
    "file.data": Said("messages[].content[].file.file_data", "a `data:` URL; from users only"),
    "file.url": Cant(
        "OpenAI takes files as data or by id; callers of this dialect can say it to servers that do"
    ),
    "file.file_id": Said("messages[].content[].file.file_id", _OWN_IDS),
    "file.filename": Said("messages[].content[].file.filename"),
    "video.data": Said("messages[].content[].video_url.url", _OTHERS),
    "video.url": Said("messages[].content[].video_url.url", _OTHERS),
    "refusal": Said("messages[].refusal"),
    "citations": Cant("annotations are in answers only; callers of this dialect can hand them back"),
    "reasoning.text": Said(
        "messages[].reasoning_content", "DeepSeek's name, which OpenRouter and others take too"
    ),
    "reasoning.signature": Said("messages[].reasoning_details[].signature", "OpenRouter's"),
    "reasoning.encrypted": Said("messages[].reasoning_details[].data", "OpenRouter's"),
    "reasoning.foreign": Cant("only its issuer can check it"),
    "tool_call": Said("messages[].tool_calls[].function"),
    "tool_call.id": Said("messages[].tool_calls[].id", "made where another dialect gives none"),
    "tool_call.signature": Said(
        "messages[].tool_calls[].extra_content.google.thought_signature",
        "as Google's own endpoint of this dialect has it",
    ),
    "tool_calls.parallel": Said("messages[].tool_calls[]", "each result is a message of its own"),
    "tool_result.text": Said("messages[].content", "a message of the role `tool`"),
    "tool_result.image": Cant("a tool's message holds text only"),
    "tool_result.file": Cant("a tool's message holds text only"),
    "tool_result.is_error": Said(
        "messages[].content", "there is no field for it: the text begins with `Error: `", back=False
    ),
    "cache_control": Cant("OpenAI caches on its own; callers of this dialect can say it to OpenRouter"),
    "tools": Said("tools[].function"),
    "tools.strict": Said("tools[].function.strict"),
    "tools.provider": Cant("each dialect has its own"),
    "tool_choice.auto": Said("tool_choice"),
    "tool_choice.none": Said("tool_choice"),
    "tool_choice.required": Said("tool_choice"),
    "tool_choice.named": Said("tool_choice.function.name"),
    "tool_choice.some": Said("tool_choice.allowed_tools.tools[].function.name"),
    "parallel_tool_calls": Said("parallel_tool_calls"),
    "output.text": Said("response_format.type"),
    "output.json_object": Said("response_format.type"),
    "output.json_schema": Said("response_format.json_schema.schema"),
    "output.name": Said("response_format.json_schema.name", "`answer` where another dialect gives none"),
    "output.strict": Said("response_format.json_schema.strict"),
    "reasoning.enabled": Said(
        "reasoning_effort", "`medium` or `none`, unless an effort is given", back=False
    ),
    "reasoning.effort": Said("reasoning_effort"),
    "reasoning.budget_tokens": Cant(
        "thinking is measured in words; callers of this dialect can say it to OpenRouter"
    ),
    "temperature": Said("temperature"),
    "top_p": Said("top_p"),
    "top_k": Said("top_k", _OTHERS),
    "min_p": Said("min_p", _OTHERS),
    "frequency_penalty": Said("frequency_penalty"),
    "presence_penalty": Said("presence_penalty"),
    "repetition_penalty": Said("repetition_penalty", _OTHERS),
    "seed": Said("seed"),
    "logprobs": Said("logprobs"),
    "top_logprobs": Said("top_logprobs"),
    "logit_bias": Said("logit_bias"),
    "stop": Said("stop"),
    "n": Said("n"),
    "max_output_tokens": Said(
        "max_completion_tokens", "`max_tokens` for providers that know it by that name"
    ),
    "user": Said("user"),
    "metadata": Said("metadata"),
}
