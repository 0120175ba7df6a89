"""``holdfast keys provider`` without a gateway: in the ledger's file, under its lock."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pty
import select
import subprocess
import termios
from typing import TYPE_CHECKING

import pytest
from tests.e2e.cli_process import HOLDFAST, called, called_json, environment, holdfast, serving

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "sk-own-canary-77aa31"
OLD, NEW = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
FILE = f"""
[gateway]
master_key = "{{}}"
[providers.openai]
[providers.azure]
[keys.acme]
sha256 = "{hashlib.sha256(b"acme").hexdigest()}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "holdfast.toml").write_text(FILE.format(NEW))
    return tmp_path


def set_key(folder: Path, *arguments: str, key: str = f"{CANARY}\n") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HOLDFAST, "keys", "provider", "set", *arguments],
        cwd=folder,
        env=environment(),
        input=key,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_one_life_of_a_key(folder: Path) -> None:
    done = set_key(folder, "Acme", "OpenAI")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "acme's requests to openai go out with its own key\n"
    told = json.loads(set_key(folder, "acme", "openai", "--json").stdout)
    assert told["replaced"] is True
    (row,) = called_json(folder, "keys", "provider", "list")
    assert (row["key"], row["provider"], row["source"], row["sealed_under"]) == (
        "acme",
        "openai",
        "ledger",
        "newest",
    )
    (folder / "holdfast.toml").write_text(FILE.format(f"{OLD},{NEW}"))
    shown = called(folder, "keys", "provider", "list", "acme").stdout
    assert "older" in shown
    assert called(folder, "keys", "provider", "reseal").stdout.startswith("1 key sealed")
    assert called_json(folder, "keys", "provider", "reseal") == {"sealed": 0, "left": 0}
    (folder / "holdfast.toml").write_text(FILE.format(NEW))
    strange = called(folder, "keys", "provider", "reseal")
    assert (strange.returncode, strange.stdout) == (1, "")
    assert "another master key" in strange.stderr
    gone = called(folder, "keys", "provider", "remove", "acme", "openai")
    assert (gone.returncode, gone.stdout) == (0, "acme has no key of its own to openai any more\n")
    again = called(folder, "keys", "provider", "remove", "acme", "openai")
    assert (again.returncode, again.stdout) == (1, "")
    assert "there are none" in called(folder, "keys", "provider", "list").stderr
    for file in folder.iterdir():
        assert CANARY.encode() not in file.read_bytes()


def test_it_is_asked_for_and_not_shown(folder: Path) -> None:
    """On a terminal: what is typed doesn't show."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [HOLDFAST, "keys", "provider", "set", "acme", "openai"],
        cwd=folder,
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        try:
            seen = _read_until(ours, b"acme's key to openai")
            while termios.tcgetattr(theirs)[3] & termios.ECHO:  # what is typed before is thrown away
                select.select([ours], [], [], 0.01)
            os.write(ours, f"{CANARY}\n".encode())
            seen += _read_until(ours, b"go out with its own key")
            assert process.wait(30) == 0
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)
    assert CANARY.encode() not in seen
    assert called_json(folder, "keys", "provider", "list", "acme")[0]["provider"] == "openai"


def _read_until(terminal: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        ready, _, _ = select.select([terminal], [], [], 30)
        assert ready, seen
        seen += os.read(terminal, 1024)
    return seen


@pytest.mark.parametrize(
    ("arguments", "key", "code", "said"),
    [
        (("acmee", "openai"), CANARY, 1, "did you mean acme?"),
        (("acme", "opnai"), CANARY, 1, "did you mean openai?"),
        (("acme", "azure"), CANARY, 1, "base_url"),
        (("acme", "openai"), "", 2, "stdin must hold the key"),
        (("acme", "openai"), f"{CANARY}\nmore", 2, "stdin must hold the key"),
        (("acme", "openai"), f"{CANARY} é", 1, "printable ASCII"),
        (("acme", "openai", CANARY), CANARY, 2, "unexpected extra argument"),
        (("acme", "openai", "--base-url", "ftp://x"), CANARY, 1, "base_url"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_kept(
    folder: Path, arguments: tuple[str, ...], key: str, code: int, said: str
) -> None:
    done = set_key(folder, *arguments, key=key)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert called_json(folder, "keys", "provider", "list") == []


def test_without_a_master_key(folder: Path) -> None:
    (folder / "holdfast.toml").write_text(FILE.replace('master_key = "{}"\n', ""))
    done = set_key(folder, "acme", "openai")
    assert (done.returncode, done.stdout) == (1, "")
    assert "HOLDFAST_MASTER_KEY" in done.stderr
    assert "openssl rand -base64 32" in done.stderr


def test_where_there_is_no_ledger(tmp_path: Path) -> None:
    for command in (("remove", "acme", "openai"), ("reseal",)):
        done = called(tmp_path, "keys", "provider", *command)
        assert (done.returncode, done.stdout) == (1, "")
        assert "--url" in done.stderr
    assert not (tmp_path / "holdfast.db").exists()


def test_a_gateway_that_serves_only_callers_with_keys_of_their_own_says_so(folder: Path) -> None:
    with serving(folder) as gateway:
        said = "\n".join(gateway.said)
        assert "each caller needs keys of its own" in said
        assert "simulated" not in said + gateway.stderr
    assert holdfast(folder, "check", "holdfast.toml").returncode == 0
