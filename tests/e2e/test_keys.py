"""Keys as people use them: made by the command line while the gateway runs, tried with the official SDKs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from tests.e2e.cli_process import Serving, called, called_json, holdfast, serving
from tests.support.http import Answer, ask

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

ADMIN_KEY = "adm-canary-5b21"
ENV = {"HOLDFAST_ADMIN_KEY": ADMIN_KEY}
FIRST = "first-secret"


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig()) as server:
        yield server


def configured(
    folder: Path, chaos: Chaos, *, gateway: str = f'admin_key = "{ADMIN_KEY}"', more: str = ""
) -> Path:
    (folder / "holdfast.toml").write_text(f"""
[gateway]
{gateway}
[providers.one]
dialect = "openai_chat"
base_url = "{chaos.base_url}"
api_key = "k"
[routes.chat]
targets = ["one/m"]
[keys.first]
sha256 = "{hashlib.sha256(FIRST.encode()).hexdigest()}"
{more}""")
    return folder


def by_openai(url: str, key: str) -> int:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        try:
            client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hi"}])
        except openai.APIStatusError as error:
            return error.status_code
    return 200


def by_anthropic(url: str, key: str) -> int:
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0) as client:
        try:
            client.messages.create(model="chat", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        except anthropic.APIStatusError as error:
            return error.status_code
    return 200


def by_google(url: str, key: str) -> int:
    with genai.Client(api_key=key, http_options={"base_url": url}) as client:
        try:
            client.models.generate_content(model="chat", contents="hi")
        except google_errors.APIError as error:
            return int(error.code)
    return 200


SDKS: list[Callable[[str, str], int]] = [by_openai, by_anthropic, by_google]


def tried(url: str, key: str) -> set[int]:
    return {sdk(url, key) for sdk in SDKS}


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = called(folder, "keys", *arguments, "--admin-key", ADMIN_KEY)
    assert done.returncode == 0, done.stderr
    return done


def test_a_key_lives_and_ends_while_the_gateway_runs(chaos: Chaos, tmp_path: Path) -> None:
    folder = configured(tmp_path, chaos)
    with serving(folder) as gateway:
        url = gateway.url
        unknown = "hf_" + "0" * 49
        assert tried(url, unknown) == {401}
        made = holdfast(folder, "keys", "create", "alice", "--url", url, env=ENV)
        assert made.returncode == 0, made.stderr
        key = made.stdout.strip()
        assert made.stdout == f"{key}\n"  # KEY=$(holdfast keys create …) is the key
        assert key not in made.stderr
        assert tried(url, key) == {200}
        rotated = json.loads(command(folder, "rotate", "alice", "--url", url, "--json").stdout)["key"]
        assert tried(url, key) == tried(url, rotated) == {200}
        leaked = command(folder, "rotate", "alice", "--grace", "0s", "--url", url).stdout.strip()
        assert tried(url, key) == tried(url, rotated) == {401}
        assert tried(url, leaked) == {200}
        command(folder, "revoke", "alice", "--yes", "--url", url)
        assert tried(url, leaked) == {401}
        assert tried(url, FIRST) == {200}
        shown = command(folder, "show", "alice", "--url", url).stdout
        listed = command(folder, "list", "--all", "--url", url, "--json").stdout
        assert gateway.stop() == 0
        never(folder, gateway, [key, rotated, leaked], shown, listed)


def never(folder: Path, gateway: Serving, keys: list[str], *told: str) -> None:
    """A key's text is nowhere but in the answer that made it."""
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert {"holdfast.db"} <= set(files)
    for key in keys:
        for name, data in files.items():
            assert key[9:].encode() not in data, name
        assert not any(key[9:] in text for text in (*told, gateway.stderr, *gateway.said))
    assert gateway.stderr.count("key rotated") == 2  # but each change is a line


def test_what_was_told_survives_kill_9(chaos: Chaos, tmp_path: Path) -> None:
    folder = configured(tmp_path, chaos)
    with serving(folder) as gateway:
        made, ended, leaked = (
            command(folder, "create", name, "--url", gateway.url).stdout.strip()
            for name in ("made", "ended", "leaked")
        )
        command(folder, "revoke", "ended", "--yes", "--url", gateway.url)
        new = command(folder, "rotate", "leaked", "--grace", "0s", "--url", gateway.url).stdout.strip()
        gateway.stop(signal.SIGKILL)
    with serving(folder) as gateway:
        assert "authorization: Bearer $HOLDFAST_KEY" in gateway.curls[0]
        assert [by_openai(gateway.url, key) for key in (made, ended, leaked, new)] == [200, 401, 401, 200]


def asked(url: str, method: str, path: str, form: Any = b"", *, key: str = ADMIN_KEY) -> Answer:
    headers = {"authorization": f"Bearer {key}"}
    port = int(url.rpartition(":")[2])
    return asyncio.run(ask(port, form, method=method, path=path, headers=headers))


@contextmanager
def on_a_port_of_its_own(folder: Path, chaos: Chaos, host: str = "127.0.0.1") -> Iterator[Serving]:
    """Where the command line finds it by its configuration."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configured(folder, chaos, gateway=f'host = "{host}"\nport = {port}\nadmin_key = "{ADMIN_KEY}"')
    with serving(folder, "--port", str(port)) as gateway:
        yield gateway


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_gateway_is_found_by_the_configuration(chaos: Chaos, tmp_path: Path, host: str) -> None:
    with on_a_port_of_its_own(tmp_path, chaos, host) as gateway:
        port = gateway.url.rpartition(":")[2]
        done = called(tmp_path, "keys", "create", "alice", "--rate-requests", "1", "--rate-window", "1h")
        assert done.returncode == 0, done.stderr
        key = done.stdout.strip()
        here = f"http://127.0.0.1:{port}"
        assert [by_openai(here, key) for _ in range(2)] == [200, 429]
        # Read from the file, beside the gateway.
        assert [each["name"] for each in called_json(tmp_path, "keys", "list")] == ["first", "alice"]


def test_a_gateway_that_has_the_ledger_and_doesnt_answer_where_it_should(
    chaos: Chaos, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configured(tmp_path, chaos, gateway=f'port = {port}\nadmin_key = "{ADMIN_KEY}"')
    with serving(tmp_path) as gateway:  # on another port
        refused = called(tmp_path, "keys", "create", "alice")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"already open for writing by process {gateway.process.pid}" in refused.stderr
        assert f"no gateway answers at http://127.0.0.1:{port}" in refused.stderr
        assert "--url" in refused.stderr
        assert "alice" not in called(tmp_path, "keys", "list", "--all").stdout


def test_without_a_gateway_the_file_is_changed_and_the_next_one_knows(chaos: Chaos, tmp_path: Path) -> None:
    folder = configured(tmp_path, chaos, gateway='host = "0.0.0.0"')
    text = (folder / "holdfast.toml").read_text()
    (folder / "holdfast.toml").write_text(text.partition("[keys.first]")[0])
    refused = holdfast(folder, "serve", "--port", "0")
    assert refused.returncode == 1
    assert "gateway.host: other machines can reach this address, so callers need keys" in refused.stderr
    assert "holdfast keys create" in refused.stderr
    key = called(folder, "keys", "create", "alice").stdout.strip()
    admin = called(folder, "keys", "create", "ops", "--admin").stdout.strip()
    with serving(folder) as gateway:
        url = f"http://127.0.0.1:{gateway.url.rpartition(':')[2]}"
        assert by_openai(url, key) == 200
        assert by_openai(url, admin) == 403
        assert [asked(url, "GET", "/admin/keys", key=each).status for each in (admin, key)] == [200, 401]
        done = called(folder, "keys", "revoke", "alice", "--yes", "--url", url, "--admin-key", admin)
        assert (done.returncode, done.stdout) == (0, "alice is revoked\n")
        assert by_openai(url, key) == 401


def test_a_name_in_both_places_keeps_the_gateway_from_starting(chaos: Chaos, tmp_path: Path) -> None:
    configured(tmp_path, chaos)
    assert called(tmp_path, "keys", "create", "bob").returncode == 0
    clash = called(tmp_path, "keys", "create", "FIRST")
    assert (clash.returncode, clash.stdout) == (1, "")
    assert "a key of the name first stands in holdfast.toml" in clash.stderr
    configured(tmp_path, chaos, more=f'[keys.Bob]\nsha256 = "{"0" * 64}"\n')
    refused = holdfast(tmp_path, "serve", "--port", "0")
    assert refused.returncode == 1
    assert (
        "keys.Bob: a key of that name is stored in holdfast.db: give the one in holdfast.toml another"
        in refused.stderr
    )


def test_what_it_is_told_as_a_table_and_in_detail(chaos: Chaos, tmp_path: Path) -> None:
    configured(tmp_path, chaos)
    done = called(
        tmp_path, "keys", "create", "alice", "--team", "search", "--tag", "env=prod", "--tag", "a=b", "--route", "chat",
        "--model", "gpt-*", "--budget-usd", "5", "--budget-tokens", "1000000", "--per", "day", "--rate-requests", "60",
        "--rate-tokens", "9000", "--rate-window", "2m", "--expires", "2100-01-31",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    called(tmp_path, "keys", "create", "ops", "--admin", "--expires", "30d")
    called(tmp_path, "keys", "create", "gone")
    called(tmp_path, "keys", "revoke", "gone", "--yes")
    table = called(tmp_path, "keys", "list").stdout
    assert "caller (file)" in table
    assert "$5 a day, 1,000,000 tokens a day, 60 requests in 120 s, 9,000 tokens in 120 s" in table
    assert "gone" not in table
    assert "gone" in called(tmp_path, "keys", "list", "--all").stdout
    shown = called(tmp_path, "keys", "show", "ALICE").stdout
    for line in (
        "team         search",
        "tags         env=prod, a=b",
        "may use      route chat, gpt-*",
        "state        active",
    ):
        assert line in shown.splitlines()
    assert called_json(tmp_path, "keys", "show", "alice")["expires_at"].startswith("2100-01-3")
    assert called_json(tmp_path, "keys", "show", "first")["source"] == "file"


def test_the_key_alone_goes_to_stdout(tmp_path: Path) -> None:
    for arguments in (("create", "alice"), ("rotate", "alice"), ("create", "ops", "--admin")):
        done = called(tmp_path, "keys", *arguments)
        key = done.stdout.removesuffix("\n")
        assert key.startswith("hf_")
        assert key.isidentifier()
        assert "It is shown this once" in done.stderr
        assert key not in done.stderr
    told = called_json(tmp_path, "keys", "create", "bob")
    assert (told["name"], told["key"][:9]) == ("bob", told["prefix"])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("create", "a b"), 1, "name: must be 1 to 64 letters, digits and . _ -"),
        (("create", "a", "--route", "chta"), 1, "routes[0]: there is no route 'chta'; did you mean chat?"),
        (("create", "a", "--model", "a b"), 1, "models[0]: must be a model's name or a pattern"),
        (("create", "a", "--tag", "x"), 2, "--tag: 'x' is no tag such as env=prod"),
        (("create", "a", "--per", "day"), 2, "--per: goes with --budget-usd or --budget-tokens"),
        (("create", "a", "--per", "week", "--budget-usd", "1"), 2, "--per"),
        (("create", "a", "--budget-usd", "five"), 2, "--budget-usd: 'five' is no amount of dollars"),
        (("create", "a", "--budget-usd", "-1"), 2, "--budget-usd: '-1' is no amount of dollars"),
        (("create", "a", "--budget-usd", "1e-10"), 1, "has more than nine decimals"),
        (("create", "a", "--rate-window", "60s"), 2, "--rate-window: goes with --rate-requests"),
        (("create", "a", "--rate-requests", "0"), 2, "--rate-requests"),
        (
            ("create", "a", "--rate-requests", "1", "--rate-window", "x"),
            2,
            "--rate-window: 'x' is no span of time",
        ),
        (("create", "a", "--expires", "soon"), 2, "--expires: 'soon' is neither a span of time"),
        (("create", "a", "--expires", "1999-01-01"), 1, "expires_at: must be in the future"),
        (("create", "a", "--admin", "--budget-usd", "1"), 1, "budgets: an admin key asks no models"),
        (("create",), 2, "Missing argument"),
        (("show", "nobody"), 1, "there is no key 'nobody'"),
        (("show", "firts"), 1, "there is no key 'firts'; did you mean first?"),
        (("revoke", "first", "--yes"), 1, "the key first stands in holdfast.toml: change it there"),
        (("revoke", "alice"), 2, "--yes: is needed where nobody can be asked"),
        (("rotate", "first"), 1, "the key first stands in holdfast.toml"),
        (("rotate", "nobody"), 1, "there is no key 'nobody'"),
        (("rotate", "alice", "--grace", "x"), 2, "--grace: 'x' is no span of time such as 90s"),
        (("list", "--url", "http://127.0.0.1:1"), 1, "no gateway answers at http://127.0.0.1:1"),
        (("list", "--url", "nonsense//"), 1, ""),
        (("list", "--config", "missing.toml"), 1, "missing.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_input(made_one: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = called(made_one, "keys", *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def made_one(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = configured(tmp_path_factory.mktemp("keys"), chaos)
    assert called(folder, "keys", "create", "alice").returncode == 0
    return folder


def test_nothing_is_made_where_there_is_nothing(tmp_path: Path) -> None:
    for arguments in (("revoke", "alice", "--yes"), ("rotate", "alice")):
        done = called(tmp_path, "keys", *arguments)
        assert done.returncode == 1
        assert "no ledger at holdfast.db" in done.stderr
    assert called(tmp_path, "keys", "list").stdout == ""
    assert called_json(tmp_path, "keys", "list") == []
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_admin_key_and_none(chaos: Chaos, tmp_path: Path) -> None:
    configured(tmp_path, chaos)
    with serving(tmp_path) as gateway:
        for key, said in (("wrong", "this is not the admin key"), (FIRST, "this is not the admin key")):
            done = called(tmp_path, "keys", "list", "--url", gateway.url, "--admin-key", key)
            assert (done.returncode, done.stdout) == (1, "")
            assert said in done.stderr
        done = called(tmp_path, "keys", "create", "a", "--url", gateway.url)
        assert done.returncode == 1
        assert "HOLDFAST_ADMIN_KEY" in done.stderr


def test_over_http_as_a_program_asks(chaos: Chaos, tmp_path: Path) -> None:
    configured(tmp_path, chaos)
    with serving(tmp_path) as gateway:
        url = gateway.url
        made = asked(url, "POST", "/admin/keys", {"name": "ci", "models": ["chat"]})
        assert (made.status, made.headers["cache-control"]) == (201, "no-store")
        key = made.json["key"]
        assert tried(url, key) == {200}
        assert asked(url, "PATCH", "/admin/keys/ci", {"models": ["o3"]}).status == 200
        assert tried(url, key) == {403}
        assert asked(url, "DELETE", "/admin/keys/ci").json["state"] == "revoked"
        assert tried(url, key) == {401}
        huge = asked(url, "POST", "/admin/keys", {"name": "x" * 2**17})
        assert huge.status == 413
