"""OP3 from the outside: a run full of failures, whose provider says our key back, leaves the key nowhere."""

from __future__ import annotations

import json
from hashlib import sha256
from http.client import HTTPConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.e2e.cli_process import WAIT_S, holdfast, serving

from holdfast.chaos import ChaosConfig, run_chaos

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "sk-canary-4f9d2b7c81e6"
CALLERS = "sk-callers-canary-77aa01"
SAID = f'message="Incorrect API key provided: {CANARY}."'
ERROR = json.dumps({"error": {"message": f"bad {CANARY}", "type": CANARY, "code": CANARY, "param": CANARY}})
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
FIRST = json.dumps({**CHUNK, "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]})
LATE = f"data: {FIRST}\n\ndata: {ERROR}\n\n"
SCRIPTS: dict[str, object] = {
    "auth": f"401 {SAID}",
    "refused": f"400 {SAID}",
    "missing": f"404 {SAID}",
    "quota": f"429 retry-after=60 {SAID}",
    "down": f"500 {SAID}",
    "page": f"502 body='<html>{CANARY}</html>' content-type=text/html",
    "header": f"500 header.x-request-id={CANARY}",
    "torn": "tokens=9 cut=reset after=3",
    "broken": {"status": {"code": 200, "body": f"{{{CANARY}"}},
    "inside": {"status": {"code": 200, "body": ERROR}},
    "event": {"status": {"code": 200, "body": f"data: {ERROR}\n\n", "content_type": "text/event-stream"}},
    "late": {"status": {"code": 200, "body": LATE, "content_type": "text/event-stream"}},
    "type": {"status": {"code": 200, "body": CANARY, "content_type": f"text/{CANARY}"}},
}


def ask(url: str, method: str, path: str, body: object = None) -> bytes:
    """The whole answer, headers too, as it came."""
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=WAIT_S)
    try:
        headers = {"content-type": "application/json", "authorization": f"Bearer {CALLERS}"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return f"{answer.status} {answer.getheaders()}\n".encode() + answer.read()
    finally:
        connection.close()


def test_no_key_appears_in_any_output_log_metric_error_or_file(tmp_path: Path) -> None:
    env = {"WALL_KEY": CANARY, "OPENAI_API_KEY": CANARY}
    seen: dict[str, bytes] = {}
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as wall:
        (tmp_path / "holdfast.toml").write_text(f"""
[gateway.log]
level = "debug"
[providers.wall]
dialect = "openai_chat"
base_url = "{wall.base_url}"
api_key = "${{WALL_KEY}}"
headers = {{ x-wall-token = "${{WALL_KEY}}" }}
retry = {{ max_retries = 0 }}
[providers.gone]
dialect = "openai_chat"
base_url = "http://127.0.0.1:9/v1"
api_key = "${{WALL_KEY}}"
retry = {{ max_retries = 0 }}
""")
        with serving(tmp_path, env=env) as gateway:
            for target in (
                *(f"wall/{model}" for model in SCRIPTS),
                "gone/x",
                f"wall/{CANARY[:9]}",
                "nobody/x",
            ):
                for stream in (False, True):
                    body = {
                        "model": target,
                        "stream": stream,
                        "messages": [{"role": "user", "content": "hi"}],
                    }
                    seen[f"{target} {stream}"] = ask(gateway.url, "POST", "/v1/chat/completions", body)
            for path in (
                "/metrics",
                "/v1/models",
                "/health/ready",
                "/health/live",
                "/openapi.json",
                "/nowhere",
            ):
                seen[path] = ask(gateway.url, "GET", path)
            second = holdfast(tmp_path, "serve", "--port", "0", env=env)
            live = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
            assert gateway.stop() == 0
            seen["said"] = "".join(gateway.said).encode()
        reached = {entry.key_sha256 for entry in wall.journal()}
    commands = [
        ("check", "holdfast.toml"),
        ("explain", "holdfast.toml", "--model", "wall/auth"),
        ("explain", "holdfast.toml", "--model", "wall/auth", "--json"),
        ("ledger", "list"),
        ("ledger", "list", "--json", "--limit", "100"),
        ("ledger", "export"),
        ("ledger", "export", "--format", "csv"),
        ("ledger", "repair"),
    ]
    outputs = {" ".join(command): holdfast(tmp_path, *command, env=env) for command in commands}
    (tmp_path / "bad.toml").write_text(
        f'[gateway]\nhost = "{CANARY}"\nport = "${{WALL_KEY}}"\n[providers.x]\nbase_url = "${{WALL_KEY}}"\n'
        '[ledger]\nurl = "${WALL_KEY}"\n'
    )
    bad = holdfast(tmp_path, "serve", "--config", "bad.toml", env=env)
    (tmp_path / "bad.toml").unlink()
    assert (second.returncode, bad.returncode) == (1, 1)
    for name, done in {**outputs, "second": second, "bad": bad}.items():
        seen[name] = (done.stdout + done.stderr).encode()
    seen |= {f"{name}, live": data for name, data in live.items()}
    seen |= {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    assert reached == {sha256(CANARY.encode()).hexdigest()}  # it was sent: there was something to leak
    assert b"502 " in seen["wall/auth False"][:5]
    assert json.loads(outputs["ledger list --json --limit 100"].stdout)
    for secret in (CANARY, CALLERS):
        assert [name for name, data in seen.items() if secret.encode() in data] == []
