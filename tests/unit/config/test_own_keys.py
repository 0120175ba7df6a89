"""Callers' own keys in the configuration: by reference, by file, passed through; and the master key."""

from __future__ import annotations

import base64
import os
import tomllib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.config import Config, check, parse
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SHA = "0" * 64
CANARY = "sk-own-canary-77aa31"
MASTER = base64.b64encode(b"m" * 32).decode()


def read(text: str, **env: str) -> Config:
    return parse(tomllib.loads(text, parse_float=Decimal), env)


def acme(line: str, *, providers: str = "[providers.openai]\n", key: str = "") -> str:
    return f'{providers}[keys.acme]\nsha256 = "{SHA}"\n{key}\n{line}\n'


def problems(text: str, **env: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(text, **env)
    assert CANARY not in str(error.value)
    return list(error.value.problems)


class TestByReference:
    def test_from_the_environment(self):
        config = read(acme('providers.OpenAI.api_key = "${ACME}"'), ACME=CANARY)
        own = config.own_keys["acme"]["openai"]
        assert own.key.reveal() == CANARY
        assert own.told == "keys.acme.providers.OpenAI.api_key (environment ACME)"
        assert config.has_providers
        assert not config.providers["openai"].usable
        assert CANARY not in repr(config)

    def test_from_a_file(self, tmp_path: Path):
        file = tmp_path / "acme.key"
        file.write_text(f"{CANARY}\n")
        text = acme(
            f'providers.openai = {{ api_key_file = "{file}", base_url = "https://acme.example/v1/" }}'
        )
        own = read(text).own_keys["acme"]["openai"]
        assert (own.key.reveal(), own.base_url) == (CANARY, "https://acme.example/v1")
        assert own.told == "keys.acme.providers.openai.api_key_file"
        file.write_text("another")
        assert read(text).own_keys["acme"]["openai"].key.reveal() == "another"

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("providers.openai = {}", "keys.acme.providers.openai.api_key: is missing, or api_key_file"),
            ('providers.openai = { api_key = "k", api_key_file = "f" }', "api_key: contradicts api_key_file"),
            ('providers.openai.api_key = "none"', 'api_key: is empty or "none"'),
            ('providers.openai.api_key = "é"', "printable ASCII"),
            ("providers.openai.api_key = 5", "must be a string"),
            ('providers.opnai.api_key = "k"', "keys.acme.providers.opnai: there is no such provider"),
            ('providers.openai.key = "k"', "keys.acme.providers.openai.key"),
            ('providers.openai.api_key_file = "/nowhere/x"', "api_key_file: can't be read: No such file"),
            ('providers.openai.api_key_file = "/"', "api_key_file: can't be read"),
            ('providers.openai.api_key_file = "\\u0000"', "api_key_file: can't be read: its name"),
            ('providers.openai = { api_key = "k", base_url = "x" }', "base_url: must be an address"),
            ('own_keys_only = "yes"', "own_keys_only: must be true or false"),
        ],
    )
    def test_what_is_wrong_is_named(self, line: str, said: str):
        assert any(said in problem for problem in problems(acme(line))), problems(acme(line))

    @pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"k" * 70_000, b"one\ntwo"])
    def test_a_file_that_holds_no_key(self, tmp_path: Path, content: bytes):
        file = tmp_path / "key"
        file.write_bytes(content)
        (said,) = problems(acme(f'providers.openai.api_key_file = "{file}"'))
        assert said.startswith("keys.acme.providers.openai.api_key_file: ")

    def test_a_pipe_that_nobody_writes_to_is_not_waited_for(self, tmp_path: Path):
        os.mkfifo(tmp_path / "key")
        (said,) = problems(acme(f'providers.openai.api_key_file = "{tmp_path / "key"}"'))
        assert "it is no file" in said

    def test_azures_key_brings_its_address(self):
        azure = "[providers.azure]\n"
        (said,) = problems(acme('providers.azure.api_key = "k"', providers=azure))
        assert "keys.acme.providers.azure.base_url: is missing" in said
        text = acme(
            'providers.azure = { api_key = "k", base_url = "https://x.openai.azure.com" }', providers=azure
        )
        assert read(text).own_keys["acme"]["azure"].base_url == "https://x.openai.azure.com"

    def test_it_doesnt_go_to_the_address_that_belongs_to_the_environments_key(self):
        text = acme(f'providers.openai.api_key = "{CANARY}"')
        config = read(text, OPENAI_API_KEY="shared", OPENAI_BASE_URL="https://proxy.example/v1")
        assert config.providers["openai"].base_url == "https://proxy.example/v1"
        assert config.providers["openai"].home == "https://api.openai.com/v1"

    def test_own_keys_only_is_the_gateways_where_the_key_doesnt_say(self):
        def only(gateway: str, key: str) -> bool:
            return read(gateway + acme("", key=key)).keys["acme"].own_keys_only

        assert only("", "") is False
        assert only("[gateway]\nown_keys_only = true\n", "") is True
        assert only("[gateway]\nown_keys_only = true\n", "own_keys_only = false") is False
        assert only("", "own_keys_only = true") is True


class TestPassedThrough:
    def test_each_caller_brings_its_own(self):
        config = read('[providers.anthropic]\nauth = "caller"\n', ANTHROPIC_API_KEY="shared")
        provider = config.providers["anthropic"]
        assert (provider.from_callers, provider.usable, provider.auth) == (True, False, "x-api-key")
        assert all(each.key is None for each in provider.deployments), "the environment's isn't looked at"
        assert config.has_providers

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ('api_key = "k"', 'api_key: contradicts auth = "caller"'),
            ('api_keys = ["k"]', 'contradicts auth = "caller"'),
            ('deployments = [{ name = "a" }]', 'deployments: contradicts auth = "caller"'),
        ],
    )
    def test_a_shared_key_contradicts_it(self, more: str, said: str):
        assert any(said in each for each in problems(f'[providers.openai]\nauth = "caller"\n{more}\n'))

    def test_a_tenants_own_contradicts_it(self):
        text = acme('providers.openai.api_key = "k"', providers='[providers.openai]\nauth = "caller"\n')
        assert 'contradicts [providers.openai] auth = "caller"' in problems(text)[0]

    def test_it_needs_an_address(self):
        (said,) = problems('[providers.azure]\nauth = "caller"\n')
        assert "providers.azure.base_url: is missing" in said


class TestMasterKey:
    @pytest.mark.parametrize("text", ["", "[gateway]\nmaster_key = '${HOLDFAST_MASTER_KEY}'\n"])
    def test_the_environments_counts_without_being_named(self, text: str):
        config = read(text, HOLDFAST_MASTER_KEY=f"{MASTER}, {MASTER}")
        assert [key.reveal() for key in config.master_keys] == [MASTER, MASTER]
        assert MASTER not in repr(config)

    def test_the_files_goes_before_it(self, tmp_path: Path):
        file = tmp_path / "master"
        file.write_text(f"{b'f'.hex() * 32}\n")
        config = read(f'[gateway]\nmaster_key_file = "{file}"\n', HOLDFAST_MASTER_KEY=MASTER)
        assert [key.reveal() for key in config.master_keys] == [b"f".hex() * 32]

    @pytest.mark.parametrize(
        ("text", "env", "said"),
        [
            ('[gateway]\nmaster_key = "short"\n', "", "gateway.master_key: is no master key"),
            ("", "short", "environment HOLDFAST_MASTER_KEY: is no master key"),
            ('[gateway]\nmaster_key_file = "/nowhere/x"\n', "", "gateway.master_key_file: can't be read"),
            (
                f'[gateway]\nmaster_key = "{MASTER}"\nmaster_key_file = "x"\n',
                "",
                "contradicts master_key_file",
            ),
        ],
    )
    def test_what_is_none_is_refused(self, text: str, env: str, said: str):
        found = problems(text, **({"HOLDFAST_MASTER_KEY": env} if env else {}))
        assert any(said in each for each in found)
        assert not any("short" in each for each in found)


class TestWarnings:
    def warnings(self, tmp_path: Path, text: str, **env: str) -> tuple[str, ...]:
        (tmp_path / "holdfast.toml").write_text(text)
        report = check(tmp_path / "holdfast.toml", env, at_ns=1_790_000_000 * 10**9)
        assert report.problems == ()
        return report.warnings

    def test_files_that_others_can_read(self, tmp_path: Path):
        key, master = tmp_path / "key", tmp_path / "master"
        key.write_text(CANARY)
        master.write_text(MASTER)
        text = f'[gateway]\nmaster_key_file = "{master}"\n' + acme(f'providers.openai.api_key_file = "{key}"')
        for file in (key, master):
            file.chmod(0o644)
        found = "\n".join(self.warnings(tmp_path, text))
        assert "gateway.master_key_file: can be read by other users" in found
        assert "keys.acme.providers.openai.api_key_file: can be read by other users" in found
        for file in (key, master):
            file.chmod(0o600)
        assert not any("other users" in each for each in self.warnings(tmp_path, text))

    @pytest.mark.parametrize(
        ("text", "env"),
        [
            ('[providers.openai]\nauth = "caller"\n', {}),
            (acme('providers.openai.api_key = "k"'), {}),
            ("[providers.openai]\n", {"HOLDFAST_MASTER_KEY": MASTER}),
        ],
    )
    def test_a_provider_that_serves_callers_with_keys_of_their_own_is_used(
        self, tmp_path: Path, text: str, env: Any
    ):
        route = '[routes.chain]\ntargets = ["openai/gpt-4o"]\n'
        assert self.warnings(tmp_path, text + route, **env) == ()
        unused = self.warnings(tmp_path, "[providers.openai]\n" + route)
        assert any("providers.openai: is not used" in each for each in unused)
        assert any("routes.chain: can't serve" in each for each in unused)

    def test_a_key_that_nothing_serves(self, tmp_path: Path):
        text = acme("", key="own_keys_only = true")
        assert any("own_keys_only: has no key of its own" in each for each in self.warnings(tmp_path, text))
        assert self.warnings(tmp_path, text, HOLDFAST_MASTER_KEY=MASTER) == ()

    def test_one_that_would_travel_readable(self, tmp_path: Path):
        text = acme('providers.openai = { api_key = "k", base_url = "http://far.example/v1" }')
        assert any("travels readable" in each for each in self.warnings(tmp_path, text))
        near = text.replace("far.example", "127.0.0.1")
        assert not any("travels readable" in each for each in self.warnings(tmp_path, near))
