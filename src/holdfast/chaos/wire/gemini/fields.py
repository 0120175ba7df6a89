"""Names of fields: what each message of a request may hold, in either spelling, and the API's complaints."""

from __future__ import annotations

from typing import Any

from holdfast.chaos.wire.errors import Problem, Refused

__all__ = ["COUNT", "EMBED", "EMBED_BATCH", "REQUEST", "checked", "invalid", "value_error"]

_REPEATED = ("contents", "parts", "tools", "function_declarations", "requests")
_FREE: None = None  # anything may stand inside

_PART: dict[str, Any] = dict.fromkeys((
    "text", "thought", "thoughtSignature", "mediaResolution", "codeExecutionResult", "executableCode", "videoMetadata",
    "toolCall", "toolResponse", "partMetadata", "audioTranscription", "mediaProcessing", "speechMetadata",
    "documentMetadata", "spreadsheetMetadata", "audioMetadata",
), _FREE) | {
    "inlineData": {"data": _FREE, "mimeType": _FREE, "displayName": _FREE},
    "fileData": {"fileUri": _FREE, "mimeType": _FREE, "displayName": _FREE},
    "functionCall": dict.fromkeys(("id", "name", "args", "partialArgs", "willContinue"), _FREE),
    "functionResponse": dict.fromkeys(("id", "name", "response", "parts", "willContinue", "scheduling"), _FREE),
}  # fmt: skip  # a list reads better packed
_CONTENT = {"role": _FREE, "parts": _PART}
_DECLARATION = dict.fromkeys((
    "name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior",
), _FREE)  # fmt: skip  # a list reads better packed
_TOOL = dict.fromkeys((
    "computerUse", "fileSearch", "googleSearch", "googleMaps", "codeExecution", "googleSearchRetrieval", "urlContext",
    "mcpServers",
), _FREE) | {"functionDeclarations": _DECLARATION}  # fmt: skip  # a list reads better packed
_GENERATION = dict.fromkeys((
    "temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "responseLogprobs", "logprobs",
    "presencePenalty", "frequencyPenalty", "seed", "responseMimeType", "responseSchema", "responseJsonSchema",
    "responseModalities", "mediaResolution", "speechConfig", "imageConfig", "enableEnhancedCivicAnswers",
    "audioTranscriptionConfig", "responseFormat", "translationConfig",
), _FREE) | {
    "thinkingConfig": dict.fromkeys(("includeThoughts", "thinkingBudget", "thinkingLevel"), _FREE)
}  # fmt: skip  # a list reads better packed
REQUEST: dict[str, Any] = dict.fromkeys((
    "model", "safetySettings", "labels", "cachedContent", "serviceTier", "continuationToken", "store",
), _FREE) | {
    "contents": _CONTENT,
    "systemInstruction": _CONTENT,
    "tools": _TOOL,
    "toolConfig": {
        "retrievalConfig": _FREE,
        "includeServerSideToolInvocations": _FREE,
        "functionCallingConfig": dict.fromkeys(("mode", "allowedFunctionNames", "streamFunctionCallArguments"), _FREE),
    },
    "generationConfig": _GENERATION,
}  # fmt: skip  # a list reads better packed
COUNT: dict[str, Any] = {"contents": _CONTENT, "model": _FREE, "generateContentRequest": REQUEST}
EMBED: dict[str, Any] = dict.fromkeys(("model", "taskType", "title", "outputDimensionality"), _FREE) | {
    "content": _CONTENT,
    "embedContentConfig": _FREE,
}
EMBED_BATCH: dict[str, Any] = {"requests": EMBED}


def invalid(message: str, field: str | None = None) -> Refused:
    """A refusal in the API's words."""
    return Refused(Problem(400, message=message, param=field))


def value_error(path: str, kind: str, value: Any) -> Refused:
    """A value of the wrong type."""
    return invalid(f"Invalid value at '{path}' ({kind}), {value!r}", path)


def checked(value: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """``value`` with all field names in camelCase. Raises :class:`Refused` for one that isn't ``known``."""
    renamed: dict[str, Any] = _checked(value, known, "")
    return renamed


def _checked(value: Any, known: dict[str, Any] | None, path: str) -> Any:
    if known is None or value is None:
        return value
    if isinstance(value, list) and path.rpartition(".")[2] in _REPEATED:
        return [_one(item, known, f"{path}[{i}]") for i, item in enumerate(value)]
    return _one(value, known, path)


def _one(value: Any, known: dict[str, Any], path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise value_error(path, "message", value)
    renamed: dict[str, Any] = {}
    for name, inner in value.items():
        camel = _camel(name)
        if camel not in known:
            where = f" at '{path}'" if path else ""
            raise invalid(
                f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.',
                path or name,
            )
        renamed[camel] = _checked(inner, known[camel], f"{path}.{_snake(name)}" if path else _snake(name))
    return renamed


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
