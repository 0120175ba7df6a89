"""Keys of callers' own over real sockets: three SDKs, three ways to bring one. The witness is the provider's own journal."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import signal
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google
from tests.e2e.cli_process import HOLDFAST, environment, holdfast, serving
from tests.support.http import ask

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ADMIN_KEY = "adm-canary-5b21"
MASTER = base64.b64encode(b"m" * 32).decode()
ENV = {"HOLDFAST_ADMIN_KEY": ADMIN_KEY, "HOLDFAST_MASTER_KEY": MASTER}
SHARED = "sk-shared-canary-1f"
OWN = {name: f"sk-own-canary-{name}-77aa31" for name in ("openai", "anthropic", "gemini")}
BAD = "sk-bad-canary-0e9d"
TENANTS = {name: f"{name}-secret" for name in ("acme", "other")}
NAMES = {hashlib.sha256(key.encode()).hexdigest(): key for key in (SHARED, BAD, *OWN.values())}
MODELS = {"openai": "gpt-5.4-mini", "anthropic": "claude-haiku-4-5", "gemini": "gemini-2.5-flash"}


@dataclass(frozen=True)
class Told:
    """What the SDK gave, or raised."""

    status: int
    text: str = ""
    body: Any = None


def by_openai(
    url: str, key: str, model: str, *, stream: bool = False, headers: Mapping[str, str] | None = None
) -> Told:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, default_headers=headers) as client:
        asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        try:
            if stream:
                chunks = list(client.chat.completions.create(**asked, stream=True))
                return Told(
                    200, "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
                )
            return Told(200, client.chat.completions.create(**asked).choices[0].message.content or "")
        except openai.APIStatusError as error:
            return Told(error.status_code, body=error.body)


def by_anthropic(
    url: str, key: str, model: str, *, stream: bool = False, headers: Mapping[str, str] | None = None
) -> Told:
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, default_headers=headers) as client:
        asked: dict[str, Any] = {
            "model": model,
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "hi"}],
        }
        try:
            if stream:
                with client.messages.stream(**asked) as events:
                    message = events.get_final_message()
            else:
                message = client.messages.create(**asked)
        except anthropic.APIStatusError as error:
            return Told(error.status_code, body=error.body)
        return Told(200, "".join(block.text for block in message.content if block.type == "text"))


def by_google(
    url: str, key: str, model: str, *, stream: bool = False, headers: Mapping[str, str] | None = None
) -> Told:
    options = google.HttpOptions(base_url=url, headers=dict(headers or {}))
    with genai.Client(api_key=key, http_options=options) as client:
        try:
            if stream:
                chunks = list(client.models.generate_content_stream(model=model, contents="hi"))
                return Told(200, "".join(chunk.text or "" for chunk in chunks))
            return Told(200, client.models.generate_content(model=model, contents="hi").text or "")
        except google_errors.APIError as error:
            return Told(int(error.code), body=error.details)


SDKS: dict[str, Callable[..., Told]] = {"openai": by_openai, "anthropic": by_anthropic, "gemini": by_google}


@contextmanager
def upstream(default: str = "ok") -> Iterator[Chaos]:
    """A provider in all dialects that lets in whoever has one of these keys."""
    with run_chaos(ChaosConfig(default=default, tokens=3, api_keys=(SHARED, *OWN.values()))) as server:
        yield server


def seen(chaos: Chaos) -> list[str]:
    """The keys that it was asked with; forgets them."""
    keys = [NAMES.get(entry.key_sha256 or "", "?") for entry in chaos.journal()]
    chaos.reset()
    return keys


def provider(name: str, chaos: Chaos, more: str = "") -> str:
    base_url = f"{chaos.url}/v1beta" if name == "gemini" else chaos.base_url
    return f'[providers.{name}]\nbase_url = "{base_url}"\n{more}\n'


def keys_of(own: Mapping[str, str]) -> str:
    tables = ""
    for name, text in TENANTS.items():
        tables += f'[keys.{name}]\nsha256 = "{hashlib.sha256(text.encode()).hexdigest()}"\n'
        if name == "acme":
            tables += "".join(f"providers.{provider}.api_key{line}\n" for provider, line in own.items())
    return tables


def configured(folder: Path, text: str) -> None:
    head = f'[gateway]\nadmin_key = "{ADMIN_KEY}"\n[retry]\nmax_retries = 0\n'
    (folder / "holdfast.toml").write_text(head + text)


def set_key(
    folder: Path, url: str, name: str, provider: str, key: str, *more: str
) -> subprocess.CompletedProcess[str]:
    """As people do: the key on stdin."""
    return subprocess.run(
        [HOLDFAST, "keys", "provider", "set", name, provider, "--url", url, *more],
        cwd=folder,
        env=environment(ENV),
        input=f"{key}\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def changed(url: str, method: str, path: str) -> Any:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    port = int(url.rpartition(":")[2])
    answer = asyncio.run(ask(port, b"", method=method, path=f"/admin/{path}", headers=headers))
    assert answer.status == 200, answer.body
    return answer.json


@dataclass(frozen=True)
class Bringing:
    """One way of bringing a key: what the file says of it, and how the SDKs are set up."""

    providers: str
    own: Mapping[str, str]
    kept: bool = False
    passed: bool = False

    def key(self, sdk: str) -> str:
        return OWN[sdk] if self.passed else TENANTS["acme"]

    @property
    def headers(self) -> dict[str, str]:
        return {"x-holdfast-key": TENANTS["acme"]} if self.passed else {}


WAYS = {
    "by reference": Bringing("", {name: f' = "${{OWN_{name.upper()}}}"' for name in OWN}),
    "kept sealed": Bringing("", {}, kept=True),
    "passed through": Bringing('auth = "caller"', {}, passed=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_three_sdks_are_served_with_keys_of_their_callers_own(tmp_path: Path, way: str) -> None:
    bringing = WAYS[way]
    with upstream() as chaos:
        configured(
            tmp_path,
            "".join(provider(name, chaos, bringing.providers) for name in OWN) + keys_of(bringing.own),
        )
        env = {**ENV, **{f"OWN_{name.upper()}": key for name, key in OWN.items()}}
        with serving(tmp_path, env=env) as gateway:
            for name, key in OWN.items():
                if bringing.kept:
                    done = set_key(tmp_path, gateway.url, "acme", name, key)
                    assert done.returncode == 0, done.stderr
                for stream in (False, True):
                    asked = (gateway.url, bringing.key(name), MODELS[name])
                    told = SDKS[name](*asked, stream=stream, headers=bringing.headers)
                    assert (told.status, bool(told.text)) == (200, True), told
                    assert seen(chaos) == [key]
                # Who has none there is told so in its own dialect, and the provider hears nothing.
                refused = SDKS[name](gateway.url, TENANTS["other"], MODELS[name])
                assert refused.status == 403
                assert name in json.dumps(refused.body)
            assert seen(chaos) == []
            assert gateway.stop() == 0
        nowhere(tmp_path, gateway.stderr, *gateway.said)


def nowhere(folder: Path, *told: str) -> None:
    """No key's text is in what was said or written, but where its owner wrote it."""
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "holdfast.toml"}
    assert {"holdfast.db"} <= set(files)
    for key in (*OWN.values(), SHARED, BAD):
        assert not any(key in text for text in told)
        for name, data in files.items():
            assert key.encode() not in data, name


def test_a_refused_key_is_told_to_its_owner_unchanged_and_ours_isnt(tmp_path: Path) -> None:
    with upstream() as chaos:
        ours = "".join(provider(name, chaos, f'api_key = "{BAD}"') for name in OWN)
        configured(tmp_path, ours + keys_of(dict.fromkeys(OWN, f' = "{BAD}"')))
        with serving(tmp_path) as gateway:
            for name, sdk in SDKS.items():
                straight = f"{chaos.url}" if name != "openai" else chaos.url
                wanted = sdk(straight, BAD, MODELS[name])
                own = sdk(gateway.url, TENANTS["acme"], MODELS[name])
                assert own.status == wanted.status
                assert _without_ids(own.body) == _without_ids(wanted.body)
                shared = sdk(gateway.url, TENANTS["other"], MODELS[name])
                assert shared.status == 502
                assert "provider_auth_failed" in json.dumps(shared.body).lower()
            assert gateway.stop() == 0
        nowhere(tmp_path, gateway.stderr)


def _without_ids(body: Any) -> Any:
    return (
        {name: value for name, value in body.items() if name != "request_id"}
        if isinstance(body, dict)
        else body
    )


def test_a_chain_passes_over_whom_the_tenant_has_no_key_to(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(upstream(default)) for default in ("503", "ok"))
        chain = '[routes.chain]\ntargets = ["openai/gpt-5.4-mini", "anthropic/claude-haiku-4-5"]\n'
        text = provider("openai", first) + provider("anthropic", second) + chain
        configured(tmp_path, text + keys_of({"anthropic": f' = "{OWN["anthropic"]}"'}))
        with serving(tmp_path, env=ENV) as gateway:
            for name, sdk in SDKS.items():
                for stream in (False, True):
                    assert sdk(gateway.url, TENANTS["acme"], "chain", stream=stream).text, name
                assert sdk(gateway.url, TENANTS["other"], "chain").status == 403
            assert set(seen(second)) == {OWN["anthropic"]}
            assert seen(first) == []
            # Its key to the first one counts from the next request on, and that one's failure leads to the second.
            assert set_key(tmp_path, gateway.url, "acme", "openai", OWN["openai"]).returncode == 0
            assert by_openai(gateway.url, TENANTS["acme"], "chain", stream=True).text
            assert (seen(first), seen(second)) == ([OWN["openai"]], [OWN["anthropic"]])
            assert gateway.stop() == 0
        rows = json.loads(holdfast(tmp_path, "ledger", "list", "--json", "-n", "1").stdout)
        assert [(row["provider"], row["deployment"], row["outcome"]) for row in rows[0]["attempts"]] == [
            ("openai", "@acme", "overloaded"),
            ("anthropic", "@acme", "ok"),
        ]
        nowhere(tmp_path, gateway.stderr)


def test_what_is_kept_survives_kill_9_and_opens_with_its_master_key_alone(tmp_path: Path) -> None:
    with upstream() as chaos:
        configured(tmp_path, provider("openai", chaos) + keys_of({}))
        with serving(tmp_path, env=ENV) as gateway:
            done = set_key(tmp_path, gateway.url, "acme", "openai", OWN["openai"])
            assert done.returncode == 0, done.stderr
            gateway.stop(signal.SIGKILL)
        refused = holdfast(tmp_path, "serve", "--port", "0", env={"HOLDFAST_ADMIN_KEY": ADMIN_KEY})
        assert refused.returncode == 1
        assert "acme's to openai" in refused.stderr
        assert "HOLDFAST_MASTER_KEY" in refused.stderr
        other = base64.b64encode(b"o" * 32).decode()
        strange = holdfast(tmp_path, "serve", "--port", "0", env={**ENV, "HOLDFAST_MASTER_KEY": other})
        assert (strange.returncode, "NEW,OLD" in strange.stderr) == (1, True)
        with serving(tmp_path, env={**ENV, "HOLDFAST_MASTER_KEY": f"{other},{MASTER}"}) as gateway:
            assert by_openai(gateway.url, TENANTS["acme"], MODELS["openai"]).status == 200
            assert seen(chaos) == [OWN["openai"]]
            assert changed(gateway.url, "POST", "provider-keys/reseal") == {"sealed": 1, "left": 0}
            gateway.stop(signal.SIGKILL)
        with serving(tmp_path, env={**ENV, "HOLDFAST_MASTER_KEY": other}) as gateway:
            assert by_openai(gateway.url, TENANTS["acme"], MODELS["openai"]).status == 200
            assert seen(chaos) == [OWN["openai"]]
            assert changed(gateway.url, "DELETE", "keys/acme/providers/openai")["removed"]
            assert by_openai(gateway.url, TENANTS["acme"], MODELS["openai"]).status in (403, 404)
            gateway.stop(signal.SIGKILL)
        assert seen(chaos) == []
        nowhere(tmp_path, gateway.stderr)


def test_on_loopback_a_key_is_passed_through_without_any_of_ours(tmp_path: Path) -> None:
    with upstream() as chaos:
        (tmp_path / "holdfast.toml").write_text(
            "".join(provider(name, chaos, 'auth = "caller"') for name in OWN)
        )
        with serving(tmp_path) as gateway:
            for name, sdk in SDKS.items():
                for stream in (False, True):
                    assert sdk(gateway.url, OWN[name], MODELS[name], stream=stream).text
                    assert seen(chaos) == [OWN[name]]
                assert sdk(gateway.url, BAD, MODELS[name]).status in (400, 401, 403)
                assert seen(chaos) == [BAD]
            # Asked in another dialect the key travels as its provider wants it.
            assert by_openai(gateway.url, OWN["anthropic"], MODELS["anthropic"]).text
            assert seen(chaos) == [OWN["anthropic"]]
            assert gateway.stop() == 0
        nowhere(tmp_path, gateway.stderr, *gateway.said)
