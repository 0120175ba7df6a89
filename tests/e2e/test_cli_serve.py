"""``holdfast serve`` as a process: what it says works as printed, and it ends without losing anything."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
from contextlib import contextmanager
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import pytest
from openai import OpenAI
from tests.e2e.cli_process import WAIT_S, Serving, environment, holdfast, holdfast_json, pasted, serving

from holdfast.chaos import ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "holdfast.example.toml"


class Stream:
    """A streamed answer, read line by line while the test acts."""

    def __init__(self, gateway: Serving) -> None:
        address = urlsplit(gateway.url)
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=WAIT_S)
        body = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
        self._connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"}
        )
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200
        self.id = self._answer.headers["x-holdfast-request-id"]

    def first_content(self) -> None:
        while b':0 "' not in (line := self._answer.readline()):  # the first of the numbered tokens
            assert line, "the stream ended before its content"

    def rest(self) -> bytes:
        return self._answer.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()
        self._connection.close()


def states(folder: Path) -> dict[str, str]:
    return {row["id"]: row["state"] for row in holdfast_json(folder, "ledger", "list")}


def test_the_example_file_serves_the_openai_sdk(tmp_path: Path) -> None:
    script = ChaosConfig(scripts={"fb-fail": "503", "fb-*": "tokens=12"})
    with run_chaos(script) as wall:
        example = EXAMPLE.read_text().replace("http://127.0.0.1:8401/v1", wall.base_url)
        assert wall.base_url in example
        (tmp_path / "holdfast.toml").write_text(example)
        with serving(tmp_path) as gateway:
            client = OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0, timeout=WAIT_S)
            plain = client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hi"}])
            chunks = list(
                client.chat.completions.create(
                    model="fb-fail", messages=[{"role": "user", "content": "hi"}], stream=True
                )
            )
            client.close()
            assert gateway.stop() == 0  # the ledger is written to its end
        served = wall.journal()
    assert plain.choices[0].message.content == served[0].text
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == served[-1].text
    assert [entry.model for entry in served] == ["fb-ok", "fb-fail", "fb-fail", "fb-fail", "fb-ok"]
    assert sum(c.choices[0].finish_reason == "stop" for c in chunks if c.choices) == 1
    rows = holdfast_json(tmp_path, "ledger", "list")
    assert [(r["state"], r["route"], r["served_model"], len(r["attempts"])) for r in rows] == [
        ("ok", "drill", "fb-ok", 4),
        ("ok", "chat", "fb-ok", 1),
    ]


def test_without_keys_it_simulates_loudly_and_every_printed_line_works(tmp_path: Path) -> None:
    with serving(tmp_path) as gateway:
        assert "SIMULATED" in gateway.stderr
        assert "No real model answers" in gateway.stderr
        assert "OPENAI_API_KEY" in gateway.stderr
        assert "AZURE_OPENAI_API_KEY and AZURE_OPENAI_ENDPOINT" in " ".join(gateway.stderr.split())
        plain, stream, broken, cut = gateway.curls
        answer = json.loads(pasted(plain, tmp_path))
        assert answer["choices"][0]["message"]["content"].startswith("This is openai, simulated.")
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert text_of(pasted(stream, tmp_path)).startswith("This is openai, simulated.")

        head, _, body = pasted(broken, tmp_path).replace("\r\n", "\n").partition("\n\n")
        assert "x-holdfast-provider: anthropic" in head.lower().splitlines()
        assert json.loads(body)["choices"][0]["message"]["content"].startswith(
            "This is anthropic, simulated."
        )

        torn = pasted(cut, tmp_path)
        assert "This i" in text_of(torn)
        events = [line for line in torn.splitlines() if line.startswith("data: ")]
        assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "connection_lost"
        assert not any("[DONE]" in event for event in events)

        assert tailed(gateway.tail, tmp_path, lines=4) == [
            ("ok", "openai/gpt-5.4-mini"),
            ("ok", "openai/gpt-5.4-mini"),
            ("ok", "anthropic/claude-haiku-4-5"),
            ("failed", "openai/gpt-5.4-mini"),
        ]
        assert gateway.stop() == 0


def test_a_file_whose_keys_are_missing_is_simulated_with_its_routes_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    (tmp_path / "holdfast.toml").write_text(
        """
[[providers.openai.deployments]]
name = "a"
api_key = "${KEY_A:-}"
[[providers.openai.deployments]]
name = "b"
api_key = "${KEY_B:-}"
[routes.mine]
targets = ["openai/gpt-5.4-mini"]
"""
    )
    with serving(tmp_path) as gateway:
        told = " ".join(gateway.stderr.replace("\u2502", " ").split())
        assert (
            "providers.openai is not used: providers.openai.deployments[0].api_key (environment KEY_A)"
            in told
        )
        client = OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0, timeout=WAIT_S)
        messages = [{"role": "user", "content": "hi"}]
        for model in ("mine", "chat", "openai/gpt-5.4-mini"):
            answer = client.chat.completions.create(model=model, messages=messages)
            assert answer.choices[0].message.content.startswith("This is openai, simulated.")
        client.close()
        assert gateway.stop() == 0


def text_of(stream: str) -> str:
    events = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: {")]
    return "".join(
        choice["delta"].get("content") or ""
        for event in events
        for choice in json.loads(event).get("choices", ())
    )


def tailed(line: str, folder: Path, *, lines: int) -> list[tuple[str, str]]:
    """State and server of the first lines of what the printed command follows; then Ctrl-C, which it takes well."""
    process = subprocess.Popen(
        shlex.split(line),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    seen = [process.stdout.readline().split() for _ in range(lines)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=WAIT_S)
    assert (process.returncode, errors) == (0, "")
    return [(words[2], words[5]) for words in seen]


@contextmanager
def behind(folder: Path, script: str) -> Iterator[None]:
    """The folder's ``holdfast.toml`` leads ``chat`` to one provider that does as the script says."""
    with run_chaos(ChaosConfig(default=script)) as wall:
        (folder / "holdfast.toml").write_text(f"""
[providers.wall]
dialect = "openai_chat"
base_url = "{wall.base_url}"
auth = "none"
[routes.chat]
targets = ["wall/any"]
""")
        yield


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_stream_finishes_before_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    with behind(tmp_path, "tokens=20 tps=20"), serving(tmp_path) as gateway:
        with Stream(gateway) as stream:
            stream.first_content()
            gateway.process.send_signal(number)
            rest = stream.rest()
        assert rest.rstrip().endswith(b"data: [DONE]")
        assert gateway.process.wait(WAIT_S) == 0
        logged = [json.loads(line) for line in gateway.stderr.splitlines()]
    assert [(line["event"], line.get("running")) for line in logged] == [("draining", 1), ("stopped", None)]
    assert states(tmp_path) == {stream.id: "ok"}


def test_after_kill_9_a_restart_leaves_nothing_open(tmp_path: Path) -> None:
    with behind(tmp_path, "tokens=9 stall after=2"):
        with serving(tmp_path) as gateway, Stream(gateway) as stream:
            stream.first_content()
            assert states(tmp_path) == {stream.id: "in_flight"}
            gateway.process.kill()
            gateway.process.wait(WAIT_S)
        with serving(tmp_path) as again:
            assert states(tmp_path) == {stream.id: "unknown"}
            assert again.stop() == 0


def test_after_kill_9_repair_closes_what_was_open_and_says_what(tmp_path: Path) -> None:
    with behind(tmp_path, "tokens=9 stall after=2"), serving(tmp_path) as gateway, Stream(gateway) as stream:
        stream.first_content()
        refused = holdfast(tmp_path, "ledger", "repair")
        assert refused.returncode == 1
        assert f"process {gateway.process.pid} " in refused.stderr
        gateway.process.kill()
        gateway.process.wait(WAIT_S)
        repaired = holdfast_json(tmp_path, "ledger", "repair")
    assert repaired["closed"] == 1
    assert [(r["id"], r["state"]) for r in repaired["requests"]] == [(stream.id, "unknown")]
    again = holdfast_json(tmp_path, "ledger", "repair")
    assert (again["closed"], again["requests"]) == (0, [])


def test_a_second_one_on_the_same_ledger_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with serving(tmp_path) as gateway:
        second = holdfast(tmp_path, "serve", "--port", "0")
        assert second.returncode == 1
        assert f"process {gateway.process.pid} " in second.stderr
        assert "Traceback" not in second.stderr
        assert second.stdout == ""


def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = holdfast(tmp_path, "serve", "--port", str(port))
    assert refused.returncode == 1
    assert f"port {port}" in refused.stderr
    assert "--port" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_command_lines_host_is_held_to_the_rule_for_keys(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text('[gateway]\nhost = "127.0.0.1"\n')
    refused = holdfast(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 1
    assert "gateway.host: other machines can reach this address" in refused.stderr


def test_everything_wrong_with_the_file_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text('[gateway]\nprot = 1\n[routes.chat]\ntargets = ["nobody/x"]\n')
    refused = holdfast(tmp_path, "serve")
    assert refused.returncode == 1
    assert "gateway.prot: " in refused.stderr
    assert "routes.chat.targets[0]: " in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_address_for_all_is_printed_as_one_that_can_be_reached(tmp_path: Path) -> None:
    key = "sk-of-a-test"
    hashed = sha256(key.encode()).hexdigest()
    (tmp_path / "holdfast.toml").write_text(f'[gateway]\nhost = "0.0.0.0"\n[keys.me]\nsha256 = "{hashed}"\n')
    with serving(tmp_path) as gateway:
        line = gateway.curls[0]
        assert "http://127.0.0.1:" in line
        answer = json.loads(pasted(f"HOLDFAST_KEY={key}; {line}", tmp_path))
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert json.loads(pasted(line, tmp_path))["error"]["code"] == "invalid_api_key"
