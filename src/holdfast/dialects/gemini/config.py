"""``generationConfig``: sampling, limits, the shape of the answer, and how much to think."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.gemini.schemas import as_google, as_json_schema
from holdfast.dialects.reading import Fields
from holdfast.dialects.writing import merged
from holdfast.model import OutputFormat, OutputKind, ReasoningOptions, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.dialects.gemini.writer import GeminiWriter
    from holdfast.model import Request

__all__ = ["BUDGETS", "CONFIG", "SAMPLING", "amount_of", "read_config", "write_config"]

CONFIG: Final = "generationConfig"
SAMPLING: Final[Mapping[str, tuple[str, Callable[[Fields, str], Any]]]] = {
    "temperature": ("temperature", Fields.number),
    "top_p": ("topP", Fields.number),
    "top_k": ("topK", Fields.number),
    "frequency_penalty": ("frequencyPenalty", Fields.number),
    "presence_penalty": ("presencePenalty", Fields.number),
    "seed": ("seed", Fields.integer),
    "logprobs": ("responseLogprobs", Fields.flag),
    "top_logprobs": ("logprobs", Fields.integer),
}
"""By the neutral name: Google's, and what it must be."""
_UNSAYABLE: Final[Mapping[str, Any]] = {"min_p": None, "repetition_penalty": 1, "logit_bias": {}}
"""Sampling that Google doesn't have, with the value that says nothing."""
_TEXT, _JSON = "text/plain", "application/json"
_SCHEMA, _JSON_SCHEMA = "responseSchema", "responseJsonSchema"
_AS_SCHEMA, _VERBATIM = "Schema", "verbatim"
_LEVELS: Final = ("minimal", "low", "medium", "high", "xhigh")
BUDGETS: Final[Mapping[str, int]] = {"minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576}
"""Tokens for models before Gemini 3, which know no levels: as Google's own endpoint of OpenAI's dialect has it."""
_DYNAMIC: Final = -1
"""The ``thinkingBudget`` with which the model decides for itself how much to think."""


def read_config(fields: Fields, spelling: dict[str, str]) -> dict[str, Any]:
    """The fields of a neutral request that stand in ``generationConfig``; what only Google knows is left in ``fields``."""
    config = fields.fields(CONFIG)
    if config is None:
        return {}
    if config.empty:
        spelling[CONFIG] = "empty"
    known: dict[str, Any] = {
        "n": config.integer("candidateCount"),
        "max_output_tokens": config.integer("maxOutputTokens"),
        "sampling": Sampling(**{ours: read(config, theirs) for ours, (theirs, read) in SAMPLING.items()}),
        "stop": _read_stop(config),
        "output": _read_output(config, spelling),
        "reasoning": _read_thinking(config, spelling),
    }
    if config.left.get("responseModalities") == ["TEXT"]:  # what it is anyway
        config.take("responseModalities")
        spelling["responseModalities"] = "TEXT"
    for name, value in config.left.items():
        fields.left[f"{CONFIG}.{name}"] = value
    return known


def write_config(
    request: Request, writer: GeminiWriter, spelling: dict[str, str], extra: dict[str, Any]
) -> dict[str, Any] | None:
    """``generationConfig``; ``extra`` is what of it only Google knows."""
    for name, nothing in _UNSAYABLE.items():
        value = getattr(request.sampling, name)
        if value is not None and value != nothing:
            writer.refuse(f"sampling.{name}", name)
    known: dict[str, Any] = {
        theirs: getattr(request.sampling, ours) for ours, (theirs, _) in SAMPLING.items()
    }
    known |= {
        "candidateCount": request.n,
        "maxOutputTokens": request.max_output_tokens,
        "stopSequences": list(request.stop) or None,
        "responseModalities": ["TEXT"] if "responseModalities" in spelling else None,
    }
    known |= _write_output(request.output, writer, spelling)
    known["thinkingConfig"] = _write_thinking(request.reasoning, request.model, writer, spelling)
    out = merged(known, extra)
    return out if out or CONFIG in spelling else None


def _read_stop(config: Fields) -> tuple[str, ...]:
    stop = config.left.get("stopSequences")
    if not stop and isinstance(stop, list | None):
        return ()
    if isinstance(stop, list) and all(isinstance(each, str) for each in stop):
        return tuple(config.take("stopSequences"))
    raise config.wrong(stop, "a list of strings", "stopSequences")


def _read_output(config: Fields, spelling: dict[str, str]) -> OutputFormat | None:
    word = config.left.get("responseMimeType")
    if word is not None and not isinstance(word, str):
        raise config.wrong(word, "a media type", "responseMimeType")
    schema = None
    if isinstance(config.left.get(_JSON_SCHEMA), dict):
        schema = config.mapping(_JSON_SCHEMA)
    elif isinstance(config.left.get(_SCHEMA), dict) and word == _JSON:
        google = config.mapping(_SCHEMA) or {}
        schema = as_json_schema(google)
        spelling["output"] = _AS_SCHEMA if schema is not None else _VERBATIM
        schema = google if schema is None else schema
    if schema is not None:
        if word == _JSON:
            config.take("responseMimeType")
        else:
            spelling["output"] = "untyped"
        return OutputFormat(kind=OutputKind.JSON_SCHEMA, schema=schema)
    if word == _JSON:
        config.take("responseMimeType")
        return OutputFormat(kind=OutputKind.JSON_OBJECT)
    if word == _TEXT:
        config.take("responseMimeType")
        return OutputFormat(kind=OutputKind.TEXT)
    return None


def _write_output(
    output: OutputFormat | None, writer: GeminiWriter, spelling: dict[str, str]
) -> dict[str, Any]:
    if output is None:
        return {}
    if output.kind is OutputKind.OPAQUE:
        writer.refuse("output", "output")
        return {}
    writer.leftovers(output.extra, "output")
    if output.kind is OutputKind.TEXT:
        return {"responseMimeType": _TEXT}
    if output.kind is OutputKind.JSON_OBJECT:
        return {"responseMimeType": _JSON}
    schema = output.schema
    if schema is not None and output.description is not None:
        schema = {"description": output.description, **schema}
    spelt = spelling.get("output")
    if spelt in (_AS_SCHEMA, _VERBATIM) and schema is not None:
        google = as_google(schema) if spelt == _AS_SCHEMA else schema
        return {"responseMimeType": _JSON, _SCHEMA: google}
    return {"responseMimeType": None if spelt == "untyped" else _JSON, _JSON_SCHEMA: schema}


def _read_thinking(config: Fields, spelling: dict[str, str]) -> ReasoningOptions | None:
    thinking = config.fields("thinkingConfig")
    if thinking is None:
        return None
    shown = thinking.flag("includeThoughts")
    if shown is not None:
        spelling["includeThoughts"] = "true" if shown else "false"
    known: dict[str, Any] = {}
    budget = thinking.integer("thinkingBudget")
    if budget in (0, _DYNAMIC):
        known["enabled"] = budget == _DYNAMIC
    elif budget is not None:
        known["budget_tokens"] = budget
    level = thinking.left.get("thinkingLevel")
    if isinstance(level, str) and level.lower() in _LEVELS:
        known["effort"] = level.lower()
        thinking.take("thinkingLevel")
        if level != level.upper():
            spelling["thinkingLevel"] = level
    config.keep("thinkingConfig", thinking)
    return ReasoningOptions(**known) if known else None


def _write_thinking(
    options: ReasoningOptions | None, model: str, writer: GeminiWriter, spelling: dict[str, str]
) -> dict[str, Any] | None:
    known: dict[str, Any] = {}
    if "includeThoughts" in spelling:
        known["includeThoughts"] = spelling["includeThoughts"] == "true"
    if options is not None:
        writer.leftovers(options.extra, "reasoning")
        known |= _write_amount(options, model, writer, spelling)
        if not writer.same and (options.enabled is not False and known.get("thinkingBudget") != 0) and known:
            known["includeThoughts"] = True  # who asks for thoughts elsewhere gets to see them
    return known or None


def _write_amount(
    options: ReasoningOptions, model: str, writer: GeminiWriter, spelling: dict[str, str]
) -> dict[str, Any]:
    if writer.same:
        return _as_it_was(options, spelling)
    if options.enabled is False or options.effort == "none":
        return {"thinkingBudget": 0}
    if options.budget_tokens is not None:
        if options.effort is not None:  # Google takes one of them
            writer.refuse("reasoning.effort")
        return {"thinkingBudget": options.budget_tokens}
    if options.effort is None:
        return {"thinkingBudget": _DYNAMIC} if options.enabled else {}
    known = options.effort in (_LEVELS if _knows_levels(model) else BUDGETS)
    if not known:
        writer.refuse("reasoning.effort")
        return {}
    return amount_of(options.effort, model)


def amount_of(effort: str, model: str) -> dict[str, Any]:
    """``thinkingConfig`` for OpenAI's word for it; an unknown word is told as it is, and refused by Google."""
    if effort == "none":
        return {"thinkingBudget": 0}
    if effort in BUDGETS and not _knows_levels(model):
        return {"thinkingBudget": BUDGETS[effort]}
    return {"thinkingLevel": effort.upper()}


def _as_it_was(options: ReasoningOptions, spelling: dict[str, str]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if options.budget_tokens is not None:
        known["thinkingBudget"] = options.budget_tokens
    elif options.enabled is not None:
        known["thinkingBudget"] = _DYNAMIC if options.enabled else 0
    if options.effort is not None:
        spelt = spelling.get("thinkingLevel", "")
        known["thinkingLevel"] = spelt if spelt.lower() == options.effort else options.effort.upper()
    return known


def _knows_levels(model: str) -> bool:
    name = model.lower().rpartition("/")[2]
    return not name.startswith(("gemini-1", "gemini-2"))
