"""Every example does what it says: Python runs, configurations pass, commands parse, queries answer."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shlex
import sqlite3
import subprocess
import tomllib
from contextlib import chdir, closing
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import hypothesis
import pytest
import typer.main
from tests.docs.pages import ROOT, Block, blocks, text_of
from tests.support.gateway import document_of, run_gateway

from holdfast import __version__
from holdfast.chaos import ChaosConfig, run_chaos
from holdfast.cli.commands import app
from holdfast.clock import SystemClock
from holdfast.config import check
from holdfast.gateway.admin import PATHS as ADMIN
from holdfast.gateway.admin_keys import OPERATIONS, is_keys
from holdfast.gateway.key_forms import Changes, NewKey, Rotation, limits_of, read_form
from holdfast.gateway.openapi import openapi
from holdfast.ledger import migrate

if TYPE_CHECKING:
    from pathlib import Path

GATEWAY = "http://127.0.0.1:8080"
NOW_NS = 1_790_000_000 * 10**9


def each(language: str) -> Any:
    found = [block for block in blocks(language) if not block.uses_library]  # those: test_library.py
    assert found, f"there are no {language} blocks: is the fence still read?"
    return pytest.mark.parametrize("block", found, ids=[block.id for block in found])


@pytest.fixture
def folder(tmp_path: Path):
    """Where a user would be: a folder with a ledger in it."""
    with closing(sqlite3.connect(tmp_path / "holdfast.db", isolation_level=None)) as database:
        migrate.migrate(database, migrate.shipped(), SystemClock())
    with chdir(tmp_path):
        yield tmp_path


@pytest.fixture
def few_examples():
    """Hypothesis in an example of a page proves that the example runs; the proof itself is made elsewhere."""
    before = hypothesis.settings.get_current_profile_name()
    hypothesis.settings.register_profile("docs", max_examples=5, deadline=None)
    hypothesis.settings.load_profile("docs")
    yield
    hypothesis.settings.load_profile(before)


@each("python")
def test_python_runs(block: Block, folder: Path, few_examples):
    if block.not_run:
        ast.parse(block.text)
    elif GATEWAY in block.text:
        with run_chaos() as chaos:
            routes = {"chat": {"targets": ["one/ok"]}}
            document = document_of(chaos.base_url, folder / "gateway.db", routes=routes)
            with run_gateway(document) as running:
                run(block, block.text.replace(GATEWAY, running.base_url.removesuffix("/v1")))
    else:
        run(block, block.text)


def run(block: Block, text: str) -> None:
    # An example's own clean-up is part of what it shows: pytest's warnings are errors here too.
    exec(compile(text, block.id, "exec"), {"__name__": "__main__"})


@each("toml")
def test_configurations_pass(block: Block, tmp_path: Path):
    document = tomllib.loads(block.text)
    of_chaos = block.page.name == "chaos.md" and document.keys() <= set(ChaosConfig.__struct_fields__)
    if "chaos" in document or of_chaos:
        ChaosConfig.from_dict(document.get("chaos", document))
        return
    file = tmp_path / "holdfast.toml"
    file.write_text(block.text)
    names = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ACME_OPENAI_KEY", "ACME_AZURE_KEY")
    assert not check(file, dict.fromkeys(names, "sk-x"), at_ns=NOW_NS).problems


def test_a_wrong_configuration_would_not_pass(tmp_path: Path):
    file = tmp_path / "holdfast.toml"
    file.write_text("[routes.chat]\ntarget = []\n")
    assert check(file, {}, at_ns=NOW_NS).problems


@each("sh")
def test_commands_parse(block: Block, folder: Path):
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "holdfast":
            parse_holdfast(words[1:])
        elif words[0] == "make":
            assert re.search(rf"^{re.escape(words[1])}:", text_of(ROOT / "Makefile"), re.MULTILINE), line
        elif words[0] == "curl":
            parse_curl(words[1:])
        elif words[:2] == ["pip", "install"]:
            extras = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["optional-dependencies"]
            assert [f"holdfast[{name}]" for name in extras if f"holdfast[{name}]" in words], line
        else:
            assert block.page.name == "gateway.md", f"what is {line!r}?"


def parse_holdfast(words: list[str]) -> None:
    """Arguments as the command itself would take them, without running it."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    with command.make_context(command.name, list(words)):
        pass


@pytest.mark.parametrize(
    "words", [["ledger", "list", "--stat", "failed"], ["ledger", "show"], ["serve", "--port", "x"]]
)
def test_a_wrong_command_would_not_parse(words):
    with pytest.raises(Exception, match=r"No such option|Missing|valid integer"):
        parse_holdfast(words)


def parse_curl(words: list[str]) -> None:
    url = next(word for word in words if word.startswith("http://"))
    if url.startswith(f"{GATEWAY}/admin/"):
        asked = urlsplit(url)
        if is_keys(asked.path):
            parse_keys(words, asked.path, asked.query)
            return
        if asked.path in ADMIN:
            assert set(parse_qs(asked.query)) <= set(ADMIN[asked.path])
            return
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        assert method.lower() in openapi(__version__)["paths"][asked.path], url
        return
    assert re.fullmatch(r"http://127\.0\.0\.1:(8401|8080)/(v1/chat/completions|admin/(journal|config))", url)
    if "-d" in words:
        sent = json.loads(words[words.index("-d") + 1])
        if url.endswith("/admin/config"):
            ChaosConfig().merged(sent)
        else:
            assert sent["messages"]


def parse_keys(words: list[str], path: str, query: str) -> None:
    """A call of ``/admin/keys`` as the gateway would take it."""
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
    operation = OPERATIONS[method, re.sub("^/admin/keys/[a-z]+", "/admin/keys/{name}", path)]
    assert set(parse_qs(query)) <= set(operation.query)
    form = {"NewKey": NewKey, "KeyChanges": Changes, "KeyRotation": Rotation}.get(operation.form)
    if form is not None:
        sent: Any = read_form(words[words.index("-d") + 1].encode(), form)
        if isinstance(sent, Changes):
            limits_of(sent, NOW_NS)


@each("sql")
def test_queries_answer(block: Block, folder: Path):
    with closing(sqlite3.connect(f"file:{folder / 'holdfast.db'}?mode=ro", uri=True)) as ledger:
        assert ledger.execute(block.text).fetchall() == []


@each("json")
def test_json_is_json(block: Block):
    json.loads(block.text)


def test_the_key_recipe_makes_a_key_and_its_hash():
    (recipe,) = [block for block in blocks("sh") if "sha256sum" in block.text]
    done = subprocess.run(
        ["sh", "-e", "-c", recipe.text], capture_output=True, text=True, check=True, timeout=10
    )
    digest, key = done.stdout.split()
    assert digest == hashlib.sha256(key.encode()).hexdigest()
    assert len(key) > 30


def test_examples_that_are_not_run_are_few():
    assert (
        len([block for language in ("python", "sh", "toml") for block in blocks(language) if block.not_run])
        <= 2
    )
