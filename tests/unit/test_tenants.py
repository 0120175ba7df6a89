"""Who is served with whose key: what a name means for each tenant, and which key each of its targets is asked with."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.app import DIALECTS, endpoints_of
from holdfast.config import Config, parse
from holdfast.config.own_keys import OwnKey
from holdfast.errors import ProviderKeyMissing, UnknownModel
from holdfast.secret import Secret
from holdfast.tenants import Admitted, Tenants

if TYPE_CHECKING:
    from collections.abc import Mapping

SHA = {name: f"{place:064x}" for place, name in enumerate(("acme", "Beta", "solo", "plain"))}
FILE = f"""
[gateway]
host = "0.0.0.0"
[providers.openai]
api_key = "shared-openai"
headers = {{ "openai-organization" = "org-shared", "x-egress" = "e1", "authorization" = "Bearer header-shared" }}
[providers.anthropic]
[providers.gemini]
[providers.deepseek]
api_keys = ["shared-deepseek-1", "shared-deepseek-2"]
[providers.vllm]
dialect = "openai_chat"
base_url = "http://127.0.0.1:8000/v1"
auth = "none"
[routes.chain]
targets = ["openai/gpt-4o", "anthropic/claude-haiku-4-5", ["deepseek/deepseek-chat", "gemini/gemini-2.5-flash"]]
[keys.acme]
sha256 = "{SHA["acme"]}"
providers.openai.api_key = "own-openai"
providers.anthropic = {{ api_key = "own-anthropic", base_url = "https://acme.example/v1" }}
providers.deepseek.api_key = "own-deepseek"
[keys.Beta]
sha256 = "{SHA["Beta"]}"
own_keys_only = true
providers.gemini.api_key = "beta-gemini"
[keys.solo]
sha256 = "{SHA["solo"]}"
own_keys_only = true
[keys.plain]
sha256 = "{SHA["plain"]}"
"""
CALLERS = """
[providers.openai]
auth = "caller"
[providers.deepseek]
auth = "caller"
[providers.anthropic]
auth = "caller"
[providers.gemini]
auth = "caller"
[providers.azure]
auth = "caller"
base_url = "https://x.openai.azure.com"
[providers.vllm]
dialect = "openai_chat"
base_url = "http://127.0.0.1:8000/v1"
auth = "none"
[routes]
all.targets = ["openai/m", "azure/m", "deepseek/m", "anthropic/m", "gemini/m", "vllm/m"]
foreign.targets = ["anthropic/m", "gemini/m"]
bearers.targets = ["openai/m", "deepseek/m"]
local.targets = ["openai/m", "vllm/m"]
"""
OPENAI = DIALECTS["openai_chat"]


def config_of(text: str, env: Mapping[str, str] | None = None) -> Config:
    return parse(tomllib.loads(text, parse_float=Decimal), env or {})


def tenants_of(text: str, env: Mapping[str, str] | None = None) -> Tenants:
    return Tenants(config_of(text, env), endpoints=endpoints_of)


def asked(config: Config, admitted: Admitted, dialect: str = "openai_chat") -> dict[str, dict[bytes, bytes]]:
    """The headers that each target would be sent, by its name."""
    sent = {}
    shared = {
        (endpoint.provider, endpoint.deployment): endpoint
        for provider in config.providers.values()
        if provider.usable
        for endpoint in reversed(endpoints_of(provider))
    }
    for target in admitted.resolved.targets:
        own = None if admitted.wallet is None else admitted.wallet.endpoint(target, dialect)
        endpoint = own or shared[target.provider, target.deployment]
        assert (endpoint.provider, endpoint.deployment) == (target.provider, target.deployment)
        sent[str(target)] = dict(endpoint.headers)
    return sent


def keys_sent(headers: dict[bytes, bytes]) -> list[str]:
    names = (b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key")
    return [f"{name.decode()}: {headers[name].decode()}" for name in names if name in headers]


class TestOwnKeys:
    tenants = tenants_of(FILE)
    config = config_of(FILE)

    def keys(self, tenant: str, model: str) -> dict[str, list[str]]:
        admitted = self.tenants.resolve(tenant, model, OPENAI)
        return {name: keys_sent(headers) for name, headers in asked(self.config, admitted).items()}

    def test_each_target_is_asked_with_the_tenants_own_key_and_way(self):
        assert self.keys("acme", "chain") == {
            "openai[@acme]/gpt-4o": ["authorization: Bearer own-openai"],
            "anthropic[@acme]/claude-haiku-4-5": ["x-api-key: own-anthropic"],
            "deepseek[@acme]/deepseek-chat": ["authorization: Bearer own-deepseek"],
        }

    def test_who_has_none_is_served_with_the_shared_ones(self):
        shared = self.keys("plain", "chain")
        assert list(shared) == ["openai/gpt-4o", "deepseek[1]/deepseek-chat", "deepseek[2]/deepseek-chat"]
        assert shared["deepseek[2]/deepseek-chat"] == ["authorization: Bearer shared-deepseek-2"]

    def test_who_is_served_with_own_keys_only_never_gets_another(self):
        assert self.keys("Beta", "chain") == {
            "gemini[@beta]/gemini-2.5-flash": ["x-goog-api-key: beta-gemini"]
        }

    def test_names_match_without_regard_to_case(self):
        assert self.keys("BETA", "Chain") == self.keys("beta", "chain")
        assert self.keys("Acme", "gpt-4o") == {"openai[@acme]/gpt-4o": ["authorization: Bearer own-openai"]}

    def test_several_shared_keys_become_the_one_and_weigh_as_much(self):
        chain = self.tenants.resolve("acme", "chain", OPENAI).resolved
        (target,) = [each for each in chain.targets if each.provider == "deepseek"]
        assert target.weight == 2.0
        assert [each.tier for each in chain.targets] == [0, 1, 2]

    def test_what_was_passed_over_for_want_of_a_key_is_recorded(self):
        def unkeyed(tenant: str) -> tuple[tuple[str, str], ...]:
            return self.tenants.resolve(tenant, "chain", OPENAI).resolved.unkeyed

        assert unkeyed("acme") == (("gemini/gemini-2.5-flash", "api_key"),)
        assert unkeyed("plain") == (
            ("anthropic/claude-haiku-4-5", "api_key"),
            ("gemini/gemini-2.5-flash", "api_key"),
        )
        assert {name for name, _ in unkeyed("Beta")} == {
            "openai/gpt-4o",
            "anthropic/claude-haiku-4-5",
            "deepseek[1]/deepseek-chat",
            "deepseek[2]/deepseek-chat",
        }

    def test_a_server_that_takes_no_key_is_anybodys(self):
        for tenant in ("acme", "Beta", "solo", "plain", "local"):
            assert self.keys(tenant, "vllm/m") == {"vllm/m": []}

    def test_the_built_in_route_has_who_the_tenant_has_keys_to(self):
        def chain(tenant: str) -> list[str]:
            return [str(each) for each in self.tenants.resolve(tenant, "chat", OPENAI).resolved.targets]

        assert [name.partition("/")[0] for name in chain("acme")] == [
            "openai[@acme]", "anthropic[@acme]", "deepseek[@acme]",
        ]  # fmt: skip
        assert [name.partition("/")[0] for name in chain("Beta")] == ["gemini[@beta]"]
        with pytest.raises(ProviderKeyMissing):
            chain("solo")

    @pytest.mark.parametrize(
        ("tenant", "model", "named"),
        [
            (
                "solo",
                "gpt-4o",
                ["gpt-4o", "openai", "solo", "holdfast keys provider set solo openai", "own_keys_only"],
            ),
            ("solo", "chain", ["openai, anthropic, deepseek, gemini", "[keys.solo.providers.openai]"]),
            ("plain", "claude-haiku-4-5", ["anthropic", "holdfast keys provider set plain anthropic"]),
            ("acme", "gemini/x", ["gemini", "acme"]),
        ],
    )
    def test_where_none_is_left_it_says_whom_and_what_to_set(self, tenant: str, model: str, named: list[str]):
        with pytest.raises(ProviderKeyMissing) as error:
            self.tenants.resolve(tenant, model, OPENAI)
        assert (error.value.status, error.value.param) == (403, "model")
        for part in named:
            assert part in error.value.message

    def test_what_nobody_has_is_unknown_to_all(self):
        for tenant in ("acme", "solo"):
            for model in ("nothing-like-it", "azure/x", ""):
                with pytest.raises(UnknownModel):
                    self.tenants.resolve(tenant, model, OPENAI)

    def test_what_cant_be_asked_for_isnt_listed(self):
        def listed(tenant: str) -> set[str]:
            return {entry.id.partition("/")[0] for entry in self.tenants.models(tenant)}

        assert listed("acme") == {"chain", "chat", "openai", "anthropic", "deepseek"}
        assert listed("Beta") == {"chain", "chat", "gemini"}
        assert listed("solo") == set()
        assert listed("plain") == {"chain", "chat", "openai", "deepseek"}

    def test_nothing_of_ours_that_says_who_pays_goes_with_anothers_key(self):
        admitted = self.tenants.resolve("acme", "gpt-4o", OPENAI)
        (headers,) = asked(self.config, admitted).values()
        assert b"openai-organization" not in headers
        assert b"shared" not in b" ".join(headers.values())
        assert headers[b"x-egress"] == b"e1"

    def test_its_own_address_goes_with_the_key(self):
        admitted = self.tenants.resolve("acme", "anthropic/m", DIALECTS["anthropic"])
        (target,) = admitted.resolved.targets
        assert str(admitted.wallet.endpoint(target, "anthropic").origin) == "https://acme.example"

    def test_each_dialect_has_its_own_door(self):
        admitted = self.tenants.resolve("acme", "openai/m", DIALECTS["openai_responses"])
        (target,) = admitted.resolved.targets
        for dialect, path in (
            ("openai_responses", "/v1/responses"),
            ("openai_embeddings", "/v1/embeddings"),
            ("gemini", "/v1/chat/completions"),
        ):
            endpoint = admitted.wallet.endpoint(target, dialect)
            assert endpoint.path == path
            assert keys_sent(dict(endpoint.headers)) == ["authorization: Bearer own-openai"]

    def test_the_key_and_the_shared_one_are_scrubbed_from_what_the_provider_says(self):
        admitted = self.tenants.resolve("acme", "gpt-4o", OPENAI)
        endpoint = admitted.wallet.endpoint(admitted.resolved.targets[0], "openai_chat")
        assert endpoint.scrub(b"bad key own-openai, of org-shared") == b"bad key ***, of ***"
        assert endpoint.key_of == "own"

    def test_nothing_that_holds_keys_prints_them(self):
        admitted = self.tenants.resolve("acme", "chain", OPENAI)
        assert "own-openai" not in repr(admitted) + repr(admitted.wallet) + repr(self.config)


class TestKept:
    """Keys from the ledger's database."""

    def test_one_counts_from_the_next_request_on_and_what_began_goes_on(self):
        tenants = tenants_of(FILE)
        config = config_of(FILE)
        before = tenants.resolve("plain", "gpt-4o", OPENAI)
        tenants.put("plain", "openai", OwnKey(key=Secret("kept-1"), told=""))
        first = tenants.resolve("plain", "gpt-4o", OPENAI)
        tenants.put("plain", "openai", OwnKey(key=Secret("kept-2"), told=""))
        second = tenants.resolve("plain", "gpt-4o", OPENAI)
        tenants.drop("plain", "openai")
        after = tenants.resolve("plain", "gpt-4o", OPENAI)
        sent = [keys_sent(*asked(config, each).values()) for each in (before, first, second, after)]
        assert sent[1:3] == [["authorization: Bearer kept-1"], ["authorization: Bearer kept-2"]]
        assert before.wallet is after.wallet is None
        tenants.drop("plain", "openai")  # a second time: nothing

    def test_the_files_goes_before_it(self):
        tenants = tenants_of(FILE)
        tenants.put("acme", "openai", OwnKey(key=Secret("kept"), told=""))
        admitted = tenants.resolve("acme", "gpt-4o", OPENAI)
        assert keys_sent(*asked(config_of(FILE), admitted).values()) == ["authorization: Bearer own-openai"]

    def test_it_is_nobody_elses(self):
        tenants = tenants_of("[providers.openai]\n", {})
        tenants.put("local", "openai", OwnKey(key=Secret("kept"), told=""))
        assert [str(each) for each in tenants.resolve("local", "openai/m", OPENAI).resolved.targets] == [
            "openai[@local]/m"
        ]
        for other in ("loca", "local2", "", "acme"):
            with pytest.raises(ProviderKeyMissing):
                tenants.resolve(other, "openai/m", OPENAI)

    def test_another_configuration_counts_from_then_on(self):
        tenants = tenants_of(FILE)
        tenants.put("solo", "openai", OwnKey(key=Secret("kept"), told=""))
        newer = tenants.under(config_of(FILE.replace("own-openai", "newer-openai")))
        for tenant, key in (("acme", "newer-openai"), ("solo", "kept")):
            admitted = newer.resolve(tenant, "gpt-4o", OPENAI)
            assert keys_sent(*asked(config_of(FILE), admitted).values()) == [f"authorization: Bearer {key}"]

    def test_who_began_under_the_one_before_sees_that_one_and_the_same_stored_keys(self):
        older = tenants_of(FILE)
        newer = older.under(config_of(FILE.replace("own-openai", "newer-openai")))
        newer.put("solo", "openai", OwnKey(key=Secret("kept"), told=""))
        for tenants in (older, newer):
            admitted = tenants.resolve("solo", "gpt-4o", OPENAI)
            assert keys_sent(*asked(config_of(FILE), admitted).values()) == ["authorization: Bearer kept"]
        newer.put("solo", "openai", OwnKey(key=Secret("another"), told=""))
        for tenants in (older, newer):
            admitted = tenants.resolve("solo", "gpt-4o", OPENAI)
            assert keys_sent(*asked(config_of(FILE), admitted).values()) == ["authorization: Bearer another"]
        admitted = older.resolve("acme", "gpt-4o", OPENAI)
        assert keys_sent(*asked(config_of(FILE), admitted).values()) == ["authorization: Bearer own-openai"]
        older.drop("solo", "openai")
        for tenants in (older, newer):
            with pytest.raises(ProviderKeyMissing):
                tenants.resolve("solo", "gpt-4o", OPENAI)

    def test_views_are_bounded(self):
        tenants = tenants_of(FILE)
        for number in range(1100):
            tenants.put(f"t{number}", "openai", OwnKey(key=Secret(f"k{number}"), told=""))
        for number in range(1100):
            (target,) = tenants.resolve(f"t{number}", "gpt-4o", OPENAI).resolved.targets
            assert target.deployment == f"@t{number}"
            tenants.resolve(f"stranger{number}", "gpt-4o", OPENAI)
        assert len(tenants._views) == 1024

    def test_where_nobody_has_keys_of_their_own_nothing_is_looked_up(self):
        tenants = tenants_of("[providers.openai]\napi_key = 'k'\n")
        admitted = tenants.resolve("anybody", "openai/m", OPENAI, {"bearer": Secret("sk-theirs")})
        assert admitted.wallet is None
        assert admitted.resolved is tenants.shared.resolve("openai/m")


def brought(**keys: str) -> dict[str, Secret]:
    return {name.replace("_", "-"): Secret(key) for name, key in keys.items()}


BEARER, ALONE, GOOG, AZURE = (
    brought(bearer="sk-b"), brought(x_api_key="sk-x"), brought(x_goog_api_key="sk-g"), brought(api_key="sk-a"),
)  # fmt: skip


class TestCallersKeys:
    config = config_of(CALLERS)

    def sent(
        self, model: str, keys: Mapping[str, Secret], dialect: str = "openai_chat"
    ) -> dict[str, list[str]]:
        admitted = Tenants(self.config, endpoints=endpoints_of).resolve(
            "local", model, DIALECTS[dialect], keys
        )
        found: dict[str, Any] = asked(self.config, admitted, dialect)
        return {
            name.partition("[")[0].partition("/")[0]: keys_sent(headers) for name, headers in found.items()
        }

    @pytest.mark.parametrize(
        ("dialect", "keys", "model", "given"),
        [
            # Each SDK's way goes to who speaks its dialect, as it came.
            ("openai_chat", BEARER, "all", {"openai": "authorization: Bearer sk-b"}),
            ("openai_responses", BEARER, "all", {"openai": "authorization: Bearer sk-b"}),
            ("openai_chat", AZURE, "all", {"azure": "api-key: sk-a"}),
            ("anthropic", ALONE, "all", {"anthropic": "x-api-key: sk-x"}),
            ("anthropic", BEARER, "all", {"anthropic": "authorization: Bearer sk-b"}),
            ("gemini", GOOG, "all", {"gemini": "x-goog-api-key: sk-g"}),
            # One that was put there by hand goes to who is spoken to so.
            ("openai_chat", {**BEARER, **ALONE}, "all", {
                "openai": "authorization: Bearer sk-b", "anthropic": "x-api-key: sk-x",
            }),
            ("openai_chat", {**BEARER, **ALONE, **GOOG, **AZURE}, "all", {
                "openai": "authorization: Bearer sk-b", "azure": "api-key: sk-a", "anthropic": "x-api-key: sk-x",
                "gemini": "x-goog-api-key: sk-g",
            }),
            ("anthropic", {**ALONE, **BEARER}, "all", {"anthropic": "x-api-key: sk-x"}),
            # Asked in another dialect it travels as the provider wants it, to the first one alone.
            ("openai_chat", BEARER, "foreign", {"anthropic": "x-api-key: sk-b"}),
            ("anthropic", ALONE, "bearers", {"openai": "authorization: Bearer sk-x"}),
            ("openai_chat", BEARER, "gemini/m", {"gemini": "x-goog-api-key: sk-b"}),
            # A key goes to one provider, though the next one would take it too.
            ("openai_chat", BEARER, "bearers", {"openai": "authorization: Bearer sk-b"}),
            ("openai_chat", BEARER, "deepseek/m", {"deepseek": "authorization: Bearer sk-b"}),
        ],
    )  # fmt: skip
    def test_which_provider_gets_which_key(self, dialect, keys, model, given):
        sent = self.sent(model, keys, dialect)
        sent.pop("vllm", None)
        assert sent == {name: [header] for name, header in given.items()}

    def test_who_takes_no_key_is_sent_none(self):
        assert self.sent("local", BEARER) == {"openai": ["authorization: Bearer sk-b"], "vllm": []}
        assert self.sent("local", {}) == {"vllm": []}
        assert self.sent("vllm/m", BEARER) == {"vllm": []}

    def test_a_key_that_isnt_there_is_asked_for_by_its_header(self):
        tenants = Tenants(self.config, endpoints=endpoints_of)
        for model, header in (
            ("openai/m", "Authorization: Bearer"),
            ("foreign", "(x-api-key)"),
            ("azure/m", "(api-key)"),
        ):
            with pytest.raises(ProviderKeyMissing) as error:
                tenants.resolve("local", model, OPENAI)
            assert header in error.value.message
        assert tenants.resolve("local", "local", OPENAI).resolved.unkeyed == (
            ("openai[@caller]/m", "api_key"),
        )

    def test_who_was_given_none_is_recorded(self):
        admitted = Tenants(self.config, endpoints=endpoints_of).resolve("local", "bearers", OPENAI, BEARER)
        assert [name for name, _ in admitted.resolved.unkeyed] == ["deepseek[@caller]/m"]

    def test_each_key_has_a_state_of_its_own_and_shows_in_no_name(self):
        tenants = Tenants(self.config, endpoints=endpoints_of)

        def deployment(key: str) -> str:
            admitted = tenants.resolve("local", "openai/m", OPENAI, {"bearer": Secret(key)})
            return admitted.resolved.targets[0].deployment

        names = [deployment(f"sk-{number}") for number in range(100)]
        assert len(set(names)) == 100
        assert deployment("sk-7") == names[7]
        assert not any("sk-" in name for name in names)
        other = Tenants(self.config, endpoints=endpoints_of).resolve(
            "local", "openai/m", OPENAI, {"bearer": Secret("sk-7")}
        )
        assert other.resolved.targets[0].deployment != names[7], "nobody can look a key up by its name"

    def test_the_key_is_the_callers(self):
        admitted = Tenants(self.config, endpoints=endpoints_of).resolve("local", "openai/m", OPENAI, BEARER)
        endpoint = admitted.wallet.endpoint(admitted.resolved.targets[0], "openai_chat")
        assert endpoint.key_of == "caller"
        assert endpoint.scrub(b"sk-b") == b"***"
