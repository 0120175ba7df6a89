"""Reload as an operator meets it: a real gateway, real providers, SIGHUP and the command, under load."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.cli_process import HOLDFAST, WAIT_S, environment, holdfast, serving
from tests.support.http import ask, chat

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.cli_process import Serving

REQUESTS = 200
KEYS = {"north": "sk-canary-north-1", "south": "sk-canary-south-1"}


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    scripts = {side: f'text="{side}"' for side in KEYS}
    with run_chaos(ChaosConfig(scripts=scripts, journal_entries=10_000)) as server:
        yield server


def text_of(chaos: Chaos, side: str, **gateway: Any) -> str:
    """All goes to one side, with that side's key, and by that side's price."""
    settings = "\n".join(f"{name} = {json.dumps(value)}" for name, value in gateway.items())
    return f"""
[gateway]
admin_key = "adm-canary"
{settings}
[ledger]
url = "sqlite:///ledger.db"
[providers.p]
dialect = "openai_chat"
base_url = "{chaos.base_url}"
api_key = "${{{side.upper()}_KEY}}"
[routes.chat]
targets = ["p/{side}"]
[prices."p/{side}"]
input_per_1m = {1 if side == "north" else 2}
output_per_1m = {1 if side == "north" else 2}
"""


@pytest.fixture
def gateway(chaos: Chaos, tmp_path: Path) -> Iterator[Serving]:
    (tmp_path / "holdfast.toml").write_text(text_of(chaos, "north"))
    env = {f"{side.upper()}_KEY": key for side, key in KEYS.items()}
    with serving(tmp_path, env=env) as running:
        yield running


def port_of(gateway: Serving) -> int:
    return int(gateway.url.rpartition(":")[2].partition("/")[0])


def write(folder: Path, text: str) -> None:
    """As careful people do: whoever reads it sees the whole of one."""
    new = folder / "holdfast.toml.new"
    new.write_text(text)
    new.replace(folder / "holdfast.toml")


def reloaded(folder: Path, gateway: Serving, *options: str) -> subprocess.CompletedProcess[str]:
    return holdfast(
        folder, "reload", "--url", gateway.url, *options, env={"HOLDFAST_ADMIN_KEY": "adm-canary"}
    )


async def config_of(port: int) -> dict[str, Any]:
    headers = {"authorization": "Bearer adm-canary"}
    return (await ask(port, method="GET", path="/admin/config", headers=headers)).json


async def until(port: int, happened: Any) -> dict[str, Any]:
    """The gateway's own word on its configuration, once it is as wanted."""
    async with asyncio.timeout(WAIT_S):
        while not happened(config := await config_of(port)):
            await asyncio.sleep(0)
    return config


async def answered(port: int) -> tuple[str, str, str]:
    """The side that an answer's headers, its text and its price speak of."""
    answer = await ask(port, chat("chat", max_tokens=20))
    assert answer.status == 200, answer.body
    usage = answer.json["usage"]
    tokens = usage["prompt_tokens"] + usage["completion_tokens"]
    cost = round(float(answer.headers["x-holdfast-cost-usd"]) * 10**9)
    priced = {tokens * 1000: "north", tokens * 2000: "south"}[cost]
    return answer.headers["x-holdfast-model"], answer.json["choices"][0]["message"]["content"], priced


def test_under_load_each_answer_agrees_with_exactly_one_configuration_and_none_fails(
    gateway: Serving, chaos: Chaos, tmp_path: Path
) -> None:
    port = port_of(gateway)
    done = asyncio.Event()

    async def callers() -> list[tuple[str, str, str]]:
        numbers = iter(range(REQUESTS))

        async def one() -> list[tuple[str, str, str]]:
            return [await answered(port) for _ in numbers]

        answers = await asyncio.gather(*(one() for _ in range(8)))
        done.set()
        return [answer for each in answers for answer in each]

    async def operator() -> int:
        applied = 0
        while not done.is_set():
            side = "south" if applied % 2 == 0 else "north"
            write(tmp_path, text_of(chaos, side))
            gateway.process.send_signal(signal.SIGHUP)
            applied += 1
            await until(port, lambda config, applied=applied: config["reloads"]["applied"] == applied)
        return applied

    async def both() -> tuple[list[tuple[str, str, str]], int]:
        answers, applied = await asyncio.gather(callers(), operator())
        return answers, applied

    answers, applied = asyncio.run(both())
    assert len(answers) == REQUESTS
    assert applied >= 2
    for model, text, priced in answers:
        assert model == text == priced
    assert {model for model, _, _ in answers} == {"north", "south"}
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.stderr
    assert "canary" not in gateway.stderr


def test_an_invalid_file_changes_nothing_and_says_why(gateway: Serving, chaos: Chaos, tmp_path: Path) -> None:
    port = port_of(gateway)
    before = asyncio.run(config_of(port))
    broken = (
        text_of(chaos, "south").replace("input_per_1m", "input_per_1x")
        + "[routes.other]\ntargets = ['nobody/x']\n"
    )
    write(tmp_path, broken)
    gateway.process.send_signal(signal.SIGHUP)
    after = asyncio.run(until(port, lambda config: config["reloads"]["refused"] == 1))
    assert (after["generation"], after["hash"]) == (1, before["hash"])
    assert {problem.partition(":")[0] for problem in after["last"]["problems"]} == {
        'prices."p/south".input_per_1x',
        "routes.other.targets[0]",
    }
    asked = reloaded(tmp_path, gateway)
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "input_per_1x" in asked.stderr
    assert "routes.other.targets[0]" in asked.stderr
    machine = reloaded(tmp_path, gateway, "--json")
    assert machine.returncode == 1
    assert len(json.loads(machine.stdout)["problems"]) == 2
    assert asyncio.run(answered(port)) == ("north", "north", "north")
    assert gateway.stop() == 0
    (line, *_) = [line for line in gateway.stderr.splitlines() if "not reloaded" in line]
    assert "routes.other.targets[0]" in line


def test_a_file_that_is_gone_is_an_error(gateway: Serving, tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").unlink()
    asked = reloaded(tmp_path, gateway)
    assert asked.returncode == 1
    assert "holdfast.toml: can't be read" in asked.stderr
    (tmp_path / "holdfast.toml").mkdir()
    assert "is no file, so it can't be read a second time" in reloaded(tmp_path, gateway).stderr


def test_a_changed_address_is_refused_with_the_reason(gateway: Serving, chaos: Chaos, tmp_path: Path) -> None:
    write(tmp_path, text_of(chaos, "south", host="::1"))
    asked = reloaded(tmp_path, gateway)
    assert asked.returncode == 1
    assert "gateway.host: can't change while the gateway runs" in asked.stderr
    assert asyncio.run(answered(port_of(gateway))) == ("north", "north", "north")


def test_the_command_tells_what_it_did(gateway: Serving, chaos: Chaos, tmp_path: Path) -> None:
    write(tmp_path, text_of(chaos, "south"))
    looked = reloaded(tmp_path, gateway, "--dry-run")
    assert looked.returncode == 0
    assert "routes.chat.targets" in looked.stdout
    assert '["p/north"]' in looked.stdout
    assert "would change; nothing was changed" in looked.stderr
    assert "canary" not in looked.stdout
    done = reloaded(tmp_path, gateway)
    assert done.returncode == 0
    assert done.stdout == looked.stdout
    assert "go by generation 2" in done.stderr
    again = reloaded(tmp_path, gateway)
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing changed" in again.stderr
    said = json.loads(reloaded(tmp_path, gateway, "--json").stdout)
    assert (said["changed"], said["generation"], said["workers"]) == (False, 2, None)
    assert asyncio.run(answered(port_of(gateway))) == ("south", "south", "south")


def test_keys_in_files_are_read_again(chaos: Chaos, tmp_path: Path) -> None:
    file = tmp_path / "tenant.key"
    file.write_text("sk-canary-file-1")
    (tmp_path / "holdfast.toml").write_text(
        text_of(chaos, "north")
        + '[keys.acme]\nsha256 = "'
        + "0" * 64
        + f'"\n[keys.acme.providers.p]\napi_key_file = "{file}"\n'
    )
    with serving(tmp_path, env={"NORTH_KEY": KEYS["north"]}) as gateway:
        file.write_text("sk-canary-file-2")
        done = json.loads(reloaded(tmp_path, gateway, "--json").stdout)
        assert [change["path"] for change in done["changes"]] == ["keys.acme.providers.p"]


def test_nobody_there_and_a_wrong_key(gateway: Serving, tmp_path: Path) -> None:
    nobody = holdfast(tmp_path, "reload", "--url", "http://127.0.0.1:9")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "no gateway answers" in nobody.stderr
    wrong = holdfast(tmp_path, "reload", "--url", gateway.url, "--admin-key", "no")
    assert wrong.returncode == 1
    assert "401" in wrong.stderr
    assert "admin key" in holdfast(tmp_path, "reload", "--url", gateway.url).stderr


def test_simulated_providers_stay(tmp_path: Path) -> None:
    """No file and no key: what is served then has nothing to read, and goes on."""
    with serving(tmp_path) as gateway:
        first = holdfast(tmp_path, "reload", "--url", gateway.url, "--json")
        assert json.loads(first.stdout)["changed"] is False
        (tmp_path / "holdfast.toml").write_text("[gateway]\nread_s = 7\n")
        done = json.loads(holdfast(tmp_path, "reload", "--url", gateway.url, "--json").stdout)
        assert [change["path"] for change in done["changes"]] == ["gateway.read_s"]

        answer = asyncio.run(ask(port_of(gateway), chat("chat", max_tokens=20)))
        assert answer.headers["x-holdfast-provider"] == "openai"


def test_who_closes_the_terminal_ends_the_gateway(chaos: Chaos, tmp_path: Path) -> None:
    """SIGHUP is also a terminal's last word: a gateway that went on would hold its port with nobody who knows of it."""
    (tmp_path / "holdfast.toml").write_text(text_of(chaos, "north"))
    leader, follower = pty.openpty()
    try:
        process = subprocess.Popen(
            [HOLDFAST, "serve", "--port", "0"],
            cwd=tmp_path,
            env=environment({"NORTH_KEY": KEYS["north"]}),
            stdin=follower,
            stdout=follower,
            stderr=subprocess.DEVNULL,
            preexec_fn=_take_terminal,
        )
        os.close(follower)
        seen = b""
        while b"ledger tail" not in seen:
            seen += os.read(leader, 4096)
    finally:
        os.close(leader)
    try:
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()


def _take_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
