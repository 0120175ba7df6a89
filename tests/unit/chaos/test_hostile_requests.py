"""Any value at any place of a request: it is read or refused, never more than that."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.chaos.raw import arrived

from holdfast.chaos.wire.errors import Refused
from holdfast.chaos.wire.routes import WIRES, find

LINES = (Path(__file__).parent / "recordings" / "requests.jsonl").read_text().splitlines()
WEIRD = (None, 7, -1.5, True, "x", "", [], {}, [7], ["x"], [[]], [None], [{}], {"type": []}, {"x": {}})
CHAT = {
    "path": "/v1/chat/completions",
    "request": {
        "model": "m",
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}],
             "reasoning_details": [{"type": "reasoning.text", "text": "x", "index": 0}]},
            {"role": "tool", "tool_call_id": "c", "content": "x"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"schema": {}}},
        "stop": ["x"], "n": 1, "stream": True, "stream_options": {"include_usage": True},
    },
}  # fmt: skip  # reads better packed


def variants(value: Any) -> Iterator[Any]:
    """``value`` with each of its places in turn taken by something else."""
    yield from WEIRD
    if isinstance(value, dict):
        for name, inner in value.items():
            yield {key: kept for key, kept in value.items() if key != name}
            yield from ({**value, name: other} for other in variants(inner))
    elif isinstance(value, list):
        for i, inner in enumerate(value[:3]):
            yield from ([*value[:i], other, *value[i + 1 :]] for other in variants(inner))


def longest(part: str) -> dict[str, Any]:
    """The recorded request of at most 3 kB that holds ``part`` and has the most places."""
    fitting = [line for line in LINES if part in line and len(line) < 3_000]
    return json.loads(max(fitting, key=lambda line: line.count('":')))


CASES = [
    CHAT,
    *(longest(part) for part in (
        '"tool_result"', '"thinking"', '"source"', '"output_config"', "count_tokens",
        '"functionResponse"', '"thoughtSignature"', '"inlineData"', '"allowedFunctionNames"', '"responseJsonSchema"',
    )),
]  # fmt: skip  # a list reads better packed


@pytest.mark.parametrize("recorded", CASES, ids=range(len(CASES)))
def test_nothing_but_a_refusal(recorded):
    for request in variants(recorded["request"]):
        body = json.dumps(request).encode()
        came = arrived(recorded["path"], body, **{"anthropic-version": "2023-06-01"})
        found = find(came)
        assert found is not None
        try:
            asked = found.wire.read(came, found.place)
            asked.tools_to_call(2)
        except Refused as refused:
            for wire in WIRES:
                assert wire.error(refused.problem, "m", "req").body  # noqa: PT017  # its words can be written
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} for {request}") from error
