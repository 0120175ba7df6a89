"""What ``deploy/compose`` starts, without containers: its nginx, its configuration, two gateways, PostgreSQL and Redis."""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import openai
import pytest
from tests.deploy.test_files import DEPLOY
from tests.e2e.cli_process import WAIT_S, Serving, holdfast, holdfast_json, serving
from tests.support.redis_server import running_redis

from holdfast.chaos import ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgres import PostgresServer

    from holdfast.chaos import Chaos

MODEL = "gpt-5.4-mini"
HOST = ("--host", "127.0.0.1")  # no other machine is asked in


@contextmanager
def nginx(folder: Path, gateways: list[Serving]) -> Iterator[str]:
    """As it is shipped, but for the names of hosts, the port, and the file that holds its number."""
    text = (DEPLOY / "compose/nginx.conf").read_text()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    for number, gateway in enumerate(gateways, 1):
        text = text.replace(f"gateway-{number}:8080", urlsplit(gateway.url).netloc)
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("/tmp/nginx.pid", f"{folder}/pid")
    assert not re.search(r"gateway-\d|8080", text)
    (folder / "nginx.conf").write_text(text)
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert program is not None, "nginx isn't installed: make servers"
    process = subprocess.Popen(
        [program, "-p", folder, "-c", folder / "nginx.conf", "-g", "daemon off; user root;"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (folder / "pid").exists() or not _listens(port):
            assert process.poll() is None, process.stderr and process.stderr.read()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Stack:
    """All of it, running."""

    def __init__(
        self, folder: Path, url: str, gateways: list[Serving], env: dict[str, str], client: openai.OpenAI
    ) -> None:
        self.folder, self.url, self.gateways, self.env, self.client = folder, url, gateways, env, client

    def ask(self) -> str:
        answer = self.client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hi"}], max_tokens=64
        )
        return answer.choices[0].message.content or ""


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts={MODEL: "tokens=20 tps=20"})) as server:
        yield server


@pytest.fixture
def stack(tmp_path: Path, postgres: PostgresServer, chaos: Chaos) -> Iterator[Stack]:
    with ExitStack() as stack:
        env = {
            "DATABASE_URL": postgres.database(),
            "REDIS_URL": stack.enter_context(running_redis()).url,
            "HOLDFAST_ADMIN_KEY": secrets.token_hex(32),
            "OPENAI_API_KEY": "sk-one",
        }
        stack.callback(postgres.give_back, env["DATABASE_URL"])
        text = (DEPLOY / "holdfast.toml").read_text()
        provider = 'api_key = "${OPENAI_API_KEY:-none}"\n'
        assert provider in text
        (tmp_path / "holdfast.toml").write_text(
            text.replace(provider, f'{provider}base_url = "{chaos.base_url}"\n')
        )
        key = holdfast_json(tmp_path, "keys", "create", "app", env=env)["key"]  # before any gateway is there
        gateways = [stack.enter_context(serving(tmp_path, *HOST, env=env)) for _ in range(2)]
        url = stack.enter_context(nginx(tmp_path, gateways))
        client = stack.enter_context(openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0))
        yield Stack(tmp_path, url, gateways, env, client)


def test_a_gateway_that_leaves_takes_no_answer_with_it(stack: Stack, chaos: Chaos) -> None:
    stream = stack.client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "hi"}], max_tokens=64, stream=True
    )
    chunks = iter(stream)
    next(chunks)  # it is under way, at one of them
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(stack.ask) for _ in range(6)]
        while len(chaos.journal()) < 7:  # each has reached the provider
            assert not any(each.done() and each.exception() for each in running)
        first, second = stack.gateways
        first.process.terminate()
        answers = [each.result() for each in running]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert first.process.wait(WAIT_S) == 0
    answers += [stack.ask() for _ in range(2)]
    assert {len(answer.split()) for answer in answers} == {20}, "each is whole"
    assert second.stop() == 0

    found = holdfast(stack.folder, "ledger", "verify", env=stack.env)
    assert found.returncode == 0, found.stdout
    listed = holdfast_json(stack.folder, "ledger", "list", env=stack.env)
    assert Counter(row["state"] for row in listed) == {"ok": 9}


@pytest.mark.parametrize("path", ["/metrics", "/admin/keys", "/admin"])
def test_the_operators_side_is_shut(tmp_path: Path, path: str) -> None:
    text = (DEPLOY / "compose/nginx.conf").read_text()
    places = re.findall(r"location (=?) ?(\S+) \{ return 404; \}", text)
    assert any(path == place if exact else path.startswith(place) for exact, place in places)
