"""Recorded traffic of Anthropic, and the message that a stream of it puts together, as Anthropic's SDK does it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tests.wire.recorded import Found, recordings

from holdfast.dialects.anthropic.differences import DIFFERENCES

if TYPE_CHECKING:
    from holdfast.dialects.openai_chat.differences import Where

EXCHANGES = [exchange for exchange in recordings("anthropic") if exchange["path"].endswith("/messages")]
COUNTED = [exchange for exchange in recordings("anthropic") if exchange["path"].endswith("/count_tokens")]
STREAMED = [exchange for exchange in EXCHANGES if "stream" in exchange]
WHOLE = [exchange for exchange in EXCHANGES if "response" in exchange and exchange["status"] == 200]
REFUSED = [exchange for exchange in EXCHANGES if exchange["status"] != 200]

_GROWING = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def listed(where: Where, found: Found) -> set[str]:
    """The names of the listed differences that ``found`` is one of."""
    return {
        each.name
        for each in DIFFERENCES
        if each.where is where and found.change in each.changes and re.fullmatch(each.path, found.path)
    }


def gathered(events: list[Any]) -> dict[str, Any]:
    """What a stream says in all its events together. Pings say nothing; how a block was cut isn't part of what it says."""
    message: dict[str, Any] = {}
    beside: dict[str, Any] = {}
    for event in events:
        match event["type"]:
            case "message_start":
                message = json.loads(json.dumps(event["message"]))
            case "content_block_start":
                assert event["index"] == len(message["content"])
                message["content"].append(dict(event["content_block"]))
            case "content_block_delta":
                _grow(message["content"][event["index"]], event["delta"])
            case "content_block_stop":
                block = message["content"][event["index"]]
                if "partial_json" in block:
                    block["input"] = json.loads(block.pop("partial_json") or "{}")
            case "message_delta":
                message |= event["delta"]
                message["usage"] |= event["usage"]
                beside |= {
                    name: value for name, value in event.items() if name not in ("type", "delta", "usage")
                }
            case _:
                pass
    return {**message, **beside, "ends": [event["type"] for event in events][-2:]}


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    kind = delta["type"]
    if kind in _GROWING:
        name = _GROWING[kind]
        block[name] = block.get(name, "") + delta[name]
    elif kind == "input_json_delta":
        block["partial_json"] = block.get("partial_json", "") + delta["partial_json"]
    elif kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or []), delta["citation"]]
    else:
        assert kind == "compaction_delta"
        block["content"] += delta["content"]
