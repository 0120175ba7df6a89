"""The real Claude Code against the gateway: ``make claude-code``. No part of `make test`, because npm fetches the program.

It is installed into a temporary folder and then run cut from the network, with a home of its own and a made-up key.
Behind the gateway are the chaos provider, and for tools a provider that says what it was told to.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.test_claude_code import recommended
from tests.support.gateway import CANARY, document_of, run_gateway
from tests.support.replay import replaying, sse_answer
from tests.support.six import six_providers

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.gateway import Running
    from tests.support.replay import Replay

PACKAGE = "@anthropic-ai/claude-code"
INSTALL_S, RUN_S = 300, 120
COMMAND, PRINTED = "echo $((900 + 99)) harbour lights", "999 harbour lights"
ANSWER = "The harbour has lights."
TEXT = f"text='{ANSWER}'"
SCRIPTS = {
    "claude-ok": TEXT,
    "claude-down": "529",
    "claude-broken": "500",
    "claude-event": f"text='{ANSWER} {ANSWER}' tps=200 error_event after=2; {TEXT}",
}
ROUTES = {
    "claude-plain": ["anthropic/claude-ok"],
    "claude-fallback": ["anthropic/claude-down", "openai/claude-ok"],
    "claude-gemini": ["anthropic/claude-down", "gemini/claude-ok"],
    "claude-500": ["anthropic/claude-broken"],
    "claude-cut": ["anthropic/claude-event"],
    "claude-tool": ["told/claude-told"],
    "claude-tool-openai": ["anthropic/claude-down", "told-openai/gpt-told"],
}


class World:
    """A gateway and everything behind it, and the program in front."""

    def __init__(self, program: Path, folder: Path, gateway: Running, chaos: Chaos, told: Replay) -> None:
        self.program, self.folder, self.gateway, self.chaos, self.told = program, folder, gateway, chaos, told

    def say(self, model: str, *more: str) -> subprocess.CompletedProcess[str]:
        """``claude -p`` with that model."""
        self.chaos.reset()
        home = Path(tempfile.mkdtemp(dir=self.folder))
        surroundings = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],  # node, and the shell that its tool runs
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{self.gateway.port}",
            "ANTHROPIC_API_KEY": "sk-ant-made-up",
            "ANTHROPIC_SMALL_FAST_MODEL": "anthropic/claude-ok",
            "HTTP_PROXY": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_AUTOUPDATER": "1",
        }
        return subprocess.run(
            [self.program, "-p", "How is the harbour?", "--model", model, *more],
            env=surroundings,
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )

    def attempts(self, model: str) -> list[int | None]:
        """The status of each attempt at that model, as the provider saw them."""
        return [entry.status for entry in self.chaos.journal() if entry.model == model]


def plain(world: World) -> None:
    expect(world.say("claude-plain"))
    assert world.attempts("claude-ok") == [200]


def openai_steps_in(world: World) -> None:
    expect(world.say("claude-fallback"))
    assert world.attempts("claude-down") == [529], "one attempt, and then the other provider"


def gemini_steps_in(world: World) -> None:
    expect(world.say("claude-gemini"))
    assert world.attempts("claude-down") == [529], "one attempt, and then the other provider"


def asked_once(world: World) -> None:
    done = world.say("claude-500")
    assert done.returncode != 0, done
    assert world.attempts("claude-broken") == [500], "x-should-retry was not obeyed"


def broken_then_plain(world: World) -> None:
    expect(world.say("claude-cut"))
    streams = [entry.stream for entry in world.chaos.journal() if entry.model == "claude-event"]
    assert streams == [True, False]


def tool(world: World) -> None:
    for model in ("claude-tool", "claude-tool-openai"):
        before = len(world.told.requests)
        expect(world.say(model, "--allowedTools", "Bash"))
        asked = [request.json for request in world.told.requests[before:] if request.method == "POST"]
        assert len(asked) == 2, "the question, and the tool's result"
        assert PRINTED in json.dumps(asked[1]["messages"]), "the tool's output did not come back"


CASES: tuple[Callable[[World], None], ...] = (
    plain,
    openai_steps_in,
    gemini_steps_in,
    asked_once,
    broken_then_plain,
    tool,
)
"""Each is a promise to whoever sits in front of the program."""


def expect(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done
    assert done.stdout.strip() == ANSWER, done


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    npm = shutil.which("npm")
    if npm is None:
        sys.stderr.write("npm is needed to install Claude Code\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="holdfast-claude-code-") as name:
        folder = Path(name)
        quiet = ["--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
        subprocess.run([npm, "install", *quiet, PACKAGE], check=True, timeout=INSTALL_S, cwd=folder)
        program = folder / "node_modules" / ".bin" / "claude"
        version = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=True, timeout=60
        )
        _say(version.stdout.strip())
        failed = 0
        with _world(program, folder) as world:
            for case in CASES:
                try:
                    case(world)
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    failed += 1
                    _say(f"FAILED  {case.__name__}: {error}")
                else:
                    _say(f"ok      {case.__name__}")
            world.gateway.no_traceback()
    return int(failed > 0)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def _world(program: Path, folder: Path) -> Iterator[World]:
    with ExitStack() as stack:
        chaos = stack.enter_context(run_chaos(ChaosConfig(scripts=SCRIPTS)))
        told = stack.enter_context(
            replaying(
                {
                    ("POST", "/v1/messages"): [
                        sse_answer(_anthropic_call(), named=True),
                        sse_answer(_anthropic_text(), named=True),
                    ],
                    ("POST", "/v1/chat/completions"): [
                        sse_answer([*_openai_call(), "[DONE]"]),
                        sse_answer([*_openai_text(), "[DONE]"]),
                    ],
                }
            )
        )
        document = document_of(chaos.base_url, folder / "ledger.db", models=SCRIPTS)
        there = {"base_url": f"{told.base_url}/v1", "api_key": CANARY}
        document["providers"] = {
            **six_providers(chaos.url),
            "told": {"dialect": "anthropic", **there},
            "told-openai": {"dialect": "openai_chat", **there},
        }
        document["retry"] = {"max_retries": 0}
        document["routes"] = {
            name: {"targets": targets, "drop": recommended()} for name, targets in ROUTES.items()
        }
        gateway = stack.enter_context(run_gateway(document))
        yield World(program, folder, gateway, chaos, told)


def _anthropic(block: dict[str, Any], delta: dict[str, Any], why: str) -> list[dict[str, Any]]:
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-told", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 1},
    }  # fmt: skip  # a message reads better packed
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": why, "stop_sequence": None},
            "usage": {"output_tokens": 7},
        },
        {"type": "message_stop"},
    ]


def _anthropic_call() -> list[dict[str, Any]]:
    block = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
    return _anthropic(block, {"type": "input_json_delta", "partial_json": _arguments()}, "tool_use")


def _anthropic_text() -> list[dict[str, Any]]:
    return _anthropic({"type": "text", "text": ""}, {"type": "text_delta", "text": ANSWER}, "end_turn")


def _openai(delta: dict[str, Any], why: str) -> list[dict[str, Any]]:
    def chunk(delta: dict[str, Any], why: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": why}
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-told"}
        return {**head, "choices": [choice]}

    return [chunk({"role": "assistant", "content": None}), chunk(delta), chunk({}, why)]


def _openai_call() -> list[dict[str, Any]]:
    function = {"name": "Bash", "arguments": _arguments()}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    return _openai({"tool_calls": [call]}, "tool_calls")


def _openai_text() -> list[dict[str, Any]]:
    return _openai({"content": ANSWER}, "stop")


def _arguments() -> str:
    return json.dumps({"command": COMMAND, "description": "Looks at the harbour"})


if __name__ == "__main__":
    sys.exit(main())
