"""Where each field of a neutral request goes in this dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.dialects.fields import Cant, Said

if TYPE_CHECKING:
    from holdfast.dialects.fields import Table

__all__ = ["FIELDS"]

_PARTS: Final = "contents[].parts[]"
_CONFIG: Final = "generationConfig"
_DECLARED: Final = "tools[].functionDeclarations[]"
_RESPONSE: Final = f"{_PARTS}.functionResponse"
_CALLING: Final = "toolConfig.functionCallingConfig"
_GUESSED: Final = "with a media type, guessed from the address where none is given"

FIELDS: Final[Table] = {
    "system": Said("systemInstruction.parts[].text"),
    "system.several": Said("systemInstruction.parts[].text", "a part each"),
    "system.later": Cant("the system instruction stands before the conversation"),
    "role.developer": Said("systemInstruction.parts[].text", "as a system prompt", back=False),
    "name": Cant("speakers have no names"),
    "text": Said(f"{_PARTS}.text"),
    "image.data": Said(f"{_PARTS}.inlineData.data"),
    "image.url": Said(f"{_PARTS}.fileData.fileUri", _GUESSED),
    "image.file_id": Said(f"{_PARTS}.fileData.fileUri", "an address of the Files API"),
    "image.detail": Said(f"{_PARTS}.mediaResolution.level", "`low` and `high`"),
    "audio.data": Said(f"{_PARTS}.inlineData.data"),
    "file.data": Said(f"{_PARTS}.inlineData.data"),
    "file.url": Said(f"{_PARTS}.fileData.fileUri", _GUESSED),
    "file.file_id": Said(f"{_PARTS}.fileData.fileUri", "an address of the Files API"),
    "file.filename": Said(f"{_PARTS}.inlineData.displayName"),
    "video.data": Said(f"{_PARTS}.inlineData.data"),
    "video.url": Said(f"{_PARTS}.fileData.fileUri", _GUESSED),
    "refusal": Cant("a refusal is why an answer ended, not something said"),
    "citations": Cant("citations are in answers only"),
    "reasoning.text": Said(f"{_PARTS}.thought", "a text marked as a thought"),
    "reasoning.signature": Said(f"{_PARTS}.thoughtSignature"),
    "reasoning.encrypted": Cant("thoughts are signed, not encrypted"),
    "reasoning.foreign": Cant("only its issuer can check it"),
    "tool_call": Said(f"{_PARTS}.functionCall", "the arguments as an object"),
    "tool_call.id": Said(f"{_PARTS}.functionCall.id"),
    "tool_call.signature": Said(
        f"{_PARTS}.thoughtSignature",
        "a turn's first call that another provider made has the waiver that Google documents for it",
    ),
    "tool_calls.parallel": Said(f"{_PARTS}.functionCall", "the results are parts of one content"),
    "tool_result.text": Said(
        f"{_RESPONSE}.response", "a JSON object as that object, any other text as its `output`"
    ),
    "tool_result.image": Said(f"{_RESPONSE}.parts[].inlineData.data"),
    "tool_result.file": Said(f"{_RESPONSE}.parts[].inlineData.data"),
    "tool_result.is_error": Said(f"{_RESPONSE}.response.error"),
    "cache_control": Cant("Google caches on its own, or what was uploaded before"),
    "tools": Said(_DECLARED, "the schema as `parametersJsonSchema`"),
    "tools.strict": Said(
        f"{_CALLING}.mode",
        "`VALIDATED`, for all functions, where calling one is left to the model; `ANY` sees to it anyway",
        back=False,
    ),
    "tools.provider": Cant("each dialect has its own"),
    "tool_choice.auto": Said(f"{_CALLING}.mode", "`AUTO`"),
    "tool_choice.none": Said(f"{_CALLING}.mode", "`NONE`"),
    "tool_choice.required": Said(f"{_CALLING}.mode", "`ANY`"),
    "tool_choice.named": Said(f"{_CALLING}.allowedFunctionNames[]"),
    "tool_choice.some": Said(f"{_CALLING}.allowedFunctionNames[]"),
    "parallel_tool_calls": Cant("the model calls as many as it likes"),
    "output.text": Said(f"{_CONFIG}.responseMimeType", "`text/plain`"),
    "output.json_object": Said(f"{_CONFIG}.responseMimeType", "`application/json`"),
    "output.json_schema": Said(f"{_CONFIG}.responseJsonSchema"),
    "output.name": Said(f"{_CONFIG}.responseJsonSchema", "a schema needs no name here", back=False),
    "output.strict": Said(f"{_CONFIG}.responseJsonSchema", "a schema is always kept to", back=False),
    "reasoning.enabled": Said(f"{_CONFIG}.thinkingConfig.thinkingBudget", "-1, as the model likes, or 0"),
    "reasoning.effort": Said(
        f"{_CONFIG}.thinkingConfig.thinkingLevel",
        "before Gemini 3 a budget: 1,024, 8,192 or 24,576 tokens, as Google's endpoint of OpenAI's dialect has it",
    ),
    "reasoning.budget_tokens": Said(f"{_CONFIG}.thinkingConfig.thinkingBudget"),
    "temperature": Said(f"{_CONFIG}.temperature"),
    "top_p": Said(f"{_CONFIG}.topP"),
    "top_k": Said(f"{_CONFIG}.topK"),
    "min_p": Cant("Google has no such parameter"),
    "frequency_penalty": Said(f"{_CONFIG}.frequencyPenalty"),
    "presence_penalty": Said(f"{_CONFIG}.presencePenalty"),
    "repetition_penalty": Cant("Google has no such parameter"),
    "seed": Said(f"{_CONFIG}.seed"),
    "logprobs": Said(f"{_CONFIG}.responseLogprobs"),
    "top_logprobs": Said(f"{_CONFIG}.logprobs"),
    "logit_bias": Cant("Google has no such parameter"),
    "stop": Said(f"{_CONFIG}.stopSequences[]"),
    "n": Said(f"{_CONFIG}.candidateCount"),
    "max_output_tokens": Said(f"{_CONFIG}.maxOutputTokens"),
    "user": Cant("Google takes no id of the end user"),
    "metadata": Cant("labels are for bills, and of lower-case words only"),
}
