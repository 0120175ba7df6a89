"""Keys that are kept sealed: set, used, removed, sealed anew; and what keeps a gateway from starting."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.app import DIALECTS, App, endpoints_of
from holdfast.clock import SystemClock, system_rng
from holdfast.config import Config, parse
from holdfast.errors import (
    ConfigError,
    Conflict,
    LedgerUnavailable,
    NotFound,
    ProviderKeyMissing,
    UnknownModel,
)
from holdfast.ledger.memory_provider_keys import MemoryProviderKeys
from holdfast.ledger.sql_provider_keys import SqlProviderKeys
from holdfast.ledger.sqlite import SqliteLedger
from holdfast.provider_keys import ProviderKeys
from holdfast.secret import Secret
from holdfast.tenants import Tenants

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

CANARY = "sk-own-canary-77aa31"
OLD, NEW = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
FILE = """
[providers.openai]
[providers.anthropic]
[providers.azure]
[providers.gemini]
auth = "caller"
[keys.acme]
sha256 = "00000000000000000000000000000000000000000000000000000000000000aa"
providers.anthropic.api_key = "of-the-file"
"""
OPENAI = DIALECTS["openai_chat"]


def config_of(path: Path, *, master: str | None = NEW, text: str = FILE) -> Config:
    document = tomllib.loads(text, parse_float=Decimal)
    document["ledger"] = {"url": f"sqlite:///{path}"}
    return parse(document, {} if master is None else {"HOLDFAST_MASTER_KEY": master})


@dataclass
class Parts:
    """What there is of a gateway here. Prices take a third of a second to load."""

    tenants: Tenants
    provider_keys: ProviderKeys
    ledger: SqliteLedger


def life(config: Config, work: Callable[[Parts], Awaitable[Any]]) -> Any:
    """One life of a process."""

    async def main() -> Any:
        clock = SystemClock()
        ledger = await SqliteLedger.open(config.ledger.url, clock=clock, rng=system_rng())
        try:
            tenants = Tenants(config, endpoints=endpoints_of)
            keys = ProviderKeys(SqlProviderKeys(ledger), tenants, config, clock)
            await keys.load()
            return await work(Parts(tenants, keys, ledger))
        finally:
            await ledger.aclose()

    return asyncio.run(main())


def sent(app: Parts, tenant: str, model: str = "openai/m") -> str | None:
    """The key that a request would be sent with."""
    try:
        admitted = app.tenants.resolve(tenant, model, OPENAI)
    except (ProviderKeyMissing, UnknownModel):
        return None
    endpoint = admitted.wallet.endpoint(admitted.resolved.targets[0], "openai_chat")
    return dict(endpoint.headers)[b"authorization"].decode().removeprefix("Bearer ")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def kept(path: Path, *, master: str = NEW) -> None:
    async def work(app: Parts) -> None:
        await app.provider_keys.set("Acme", "OpenAI", Secret(CANARY))

    life(config_of(path, master=master), work)


def test_what_is_set_counts_at_once_and_after_a_restart(path):
    async def first(app: Parts) -> None:
        assert sent(app, "acme") is None
        assert await app.provider_keys.set("Acme", "OpenAI", Secret(CANARY)) is False
        assert sent(app, "acme") == sent(app, "ACME") == CANARY
        assert sent(app, "other") is None

    async def second(app: Parts) -> None:
        assert sent(app, "acme") == CANARY
        assert await app.provider_keys.set("acme", "openai", Secret("another")) is True
        assert sent(app, "acme") == "another"

    async def third(app: Parts) -> None:
        assert sent(app, "acme") == "another"
        await app.provider_keys.remove("ACME", "openai")
        assert sent(app, "acme") is None
        with pytest.raises(NotFound):
            await app.provider_keys.remove("acme", "openai")

    async def fourth(app: Parts) -> None:
        assert sent(app, "acme") is None

    for work in (first, second, third, fourth):
        life(config_of(path), work)


def test_it_is_nowhere_in_the_files(path):
    kept(path)
    for file in path.parent.iterdir():
        assert CANARY.encode() not in file.read_bytes()
        assert base64.b64encode(CANARY.encode())[:-4] not in file.read_bytes()


class TestStart:
    def test_without_a_master_key_it_doesnt(self, path):
        kept(path)
        with pytest.raises(ConfigError) as error:
            life(config_of(path, master=None), _nothing)
        for part in ("acme's to openai", "HOLDFAST_MASTER_KEY", "gateway.master_key", "provider remove"):
            assert part in error.value.message
        life(config_of(path), _nothing)  # nothing is lost

    def test_a_gateway_that_cant_open_them_lets_go_of_the_ledger(self, path):
        kept(path)
        with pytest.raises(ConfigError, match="HOLDFAST_MASTER_KEY"):
            asyncio.run(App.start(config_of(path, master=None)))

        async def started() -> str | None:
            app = await App.start(config_of(path))
            try:
                return sent(Parts(app.tenants, app.provider_keys, app.ledger), "acme")
            finally:
                await app.aclose()

        assert asyncio.run(started()) == CANARY

    def test_under_another_master_key_it_doesnt(self, path):
        kept(path, master=OLD)
        with pytest.raises(ConfigError, match=r"acme's to openai.*HOLDFAST_MASTER_KEY=NEW,OLD"):
            life(config_of(path, master=NEW), _nothing)

    def test_nor_for_a_provider_that_isnt_there_now(self, path):
        """Else it would be found out on the day that the provider comes back."""
        kept(path, master=OLD)
        with pytest.raises(ConfigError, match="another master key"):
            life(config_of(path, master=NEW, text="[providers.deepseek]\n"), _nothing)

    def test_without_anything_kept_no_master_key_is_needed(self, path):
        life(config_of(path, master=None), _nothing)

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE provider_keys SET sealed = zeroblob(60)",
            "UPDATE provider_keys SET sealed = 'text'",
            "UPDATE provider_keys SET base_url = 'https://evil.example/v1'",
            "UPDATE provider_keys SET provider = 'anthropic'",
            "UPDATE provider_keys SET tenant = 'other'",
        ],
    )
    def test_what_was_changed_or_moved_serves_nobody_and_the_rest_goes_on(self, path, damage):
        kept(path)
        with sqlite3.connect(path) as connection:
            connection.execute(damage)
        connection.close()

        async def work(app: Parts) -> None:
            for tenant in ("acme", "other"):
                assert sent(app, tenant) is None
            assert len(app.provider_keys.problems) == 1
            (row,) = [each for each in app.provider_keys.listed() if each.source == "ledger"]
            assert row.unused.startswith("it can't be opened")
            assert await app.provider_keys.reseal() == (0, 0)

        life(config_of(path), work)

        async def under_a_new_one(app: Parts) -> None:
            assert await app.provider_keys.reseal() == (0, 1)

        life(config_of(path, master=f"{OLD},{NEW}"), under_a_new_one)


async def _nothing(app: Parts) -> None:
    pass


class TestSet:
    def test_what_cant_be_is_refused_with_what_to_do(self, path):
        async def work(app: Parts) -> None:
            keys = app.provider_keys
            with pytest.raises(NotFound, match="did you mean openai"):
                await keys.set("acme", "opnai", Secret(CANARY))
            with pytest.raises(Conflict, match="base_url"):
                await keys.set("acme", "azure", Secret(CANARY))
            with pytest.raises(Conflict, match='auth = "caller"'):
                await keys.set("acme", "gemini", Secret(CANARY))
            assert await keys.set("acme", "azure", Secret(CANARY), "https://acme.openai.azure.com") is False
            assert [each.base_url for each in keys.listed("acme") if each.provider == "azure"] == [
                "https://acme.openai.azure.com"
            ]

        life(config_of(path), work)

    def test_without_a_master_key(self, path):
        async def work(app: Parts) -> None:
            with pytest.raises(Conflict, match="openssl rand -base64 32"):
                await app.provider_keys.set("acme", "openai", Secret(CANARY))
            with pytest.raises(Conflict, match="NEW,OLD"):
                await app.provider_keys.reseal()

        life(config_of(path, master=None), work)

    def test_where_it_cant_be_written_nothing_changes(self, path):
        async def work(app: Parts) -> None:
            await app.provider_keys.set("acme", "openai", Secret(CANARY))
            await app.ledger.aclose()
            with pytest.raises(LedgerUnavailable):
                await app.provider_keys.set("acme", "openai", Secret("another"))
            assert sent(app, "acme") == CANARY

        life(config_of(path), work)

    def test_what_is_removed_serves_nobody_though_that_cant_be_written(self, path):
        async def work(app: Parts) -> None:
            await app.provider_keys.set("acme", "openai", Secret(CANARY))
            await app.ledger.aclose()
            with pytest.raises(LedgerUnavailable):
                await app.provider_keys.remove("acme", "openai")
            assert sent(app, "acme") is None
            (row,) = [each for each in app.provider_keys.listed() if each.source == "ledger"]
            assert row.unused == "it is being removed: remove it again"

        life(config_of(path), work)


class TestReseal:
    def test_the_old_master_key_can_be_thrown_away(self, path):
        kept(path, master=OLD)

        async def work(app: Parts) -> None:
            keys = app.provider_keys
            assert [each.sealed_under for each in keys.listed("acme")] == [None, "older"]
            await keys.set("acme", "azure", Secret("a"), "https://acme.openai.azure.com")
            assert await keys.reseal() == (1, 0)
            assert await keys.reseal() == (0, 0)
            assert {each.sealed_under for each in keys.listed("acme")} == {None, "newest"}

        life(config_of(path, master=f"{NEW},{OLD}"), work)
        with pytest.raises(ConfigError):
            life(config_of(path, master=OLD), _nothing)

        async def after(app: Parts) -> None:
            assert sent(app, "acme") == CANARY

        life(config_of(path, master=NEW), after)

    def test_those_of_providers_that_arent_there_now_as_well(self, path):
        kept(path, master=OLD)

        async def work(app: Parts) -> None:
            (row,) = app.provider_keys.listed()
            assert row.unused == "there is no such provider here"
            assert await app.provider_keys.reseal() == (1, 0)

        life(config_of(path, master=f"{NEW},{OLD}", text="[providers.deepseek]\n"), work)

        async def after(app: Parts) -> None:
            assert sent(app, "acme") == CANARY

        life(config_of(path), after)

    def test_one_that_is_set_meanwhile_stays(self, path):
        kept(path, master=OLD)

        class Slow(MemoryProviderKeys):
            """Somebody sets another key just before the first one is written back."""

            async def reseal(self, old: Any, new: Any) -> bool:
                await keys.set("acme", "openai", Secret("newer"))
                return await super().reseal(old, new)

        keys: Any = None

        async def work(app: Parts) -> None:
            nonlocal keys
            keys = app.provider_keys
            slow = Slow()
            for row in await keys._store.all():
                await slow.put(row)
            keys._store = slow
            assert await keys.reseal() == (0, 0)
            assert sent(app, "acme") == "newer"
            await keys.load()
            assert sent(app, "acme") == "newer"

        life(config_of(path, master=f"{NEW},{OLD}"), work)


def test_what_is_told_of_them(path):
    kept(path)

    async def work(app: Parts) -> None:
        written, stored = app.provider_keys.listed("ACME")
        assert (written.key, written.provider, written.source) == ("acme", "anthropic", "file")
        assert (stored.key, stored.provider, stored.source) == ("acme", "openai", "ledger")
        assert written.unused is stored.unused is None
        assert app.provider_keys.listed("other") == []
        assert len(app.provider_keys.listed()) == 2
        await app.provider_keys.set("acme", "anthropic", Secret(CANARY))
        (shadowed,) = [
            each
            for each in app.provider_keys.listed()
            if each.source == "ledger" and each.provider == "anthropic"
        ]
        assert "the configuration's file has another one" in shadowed.unused
        assert CANARY not in repr(app.provider_keys.listed())

    life(config_of(path), work)
