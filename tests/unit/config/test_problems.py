# ruff: noqa: E501  # a case is read in one line
"""Every class of error: its path, what is wrong, what would be right; and all of them at once."""

from hashlib import sha256
from pathlib import Path

import pytest
from tests.unit.config.reading import EXAMPLE, WALL, problems, read

from holdfast.config import load
from holdfast.config.warn import warnings_of
from holdfast.errors import ConfigError

CHAT = '[routes.chat]\ntargets = ["wall/m"]\n'
SHA = "0123456789abcdef" * 4

DEPLOYMENT = '[[providers.openai.deployments]]\nname = "one"\n'
DEPLOYED = '[providers.openai]\napi_key = "a"\n' + DEPLOYMENT

CASES = [
    # settings that there are none of, with the nearest that there is
    ("[gatway]\n", "gatway: there is no such setting; did you mean gateway?"),
    ("[gateway]\nprt = 1\n", "gateway.prt: there is no such setting; did you mean port?"),
    ("[gateway.log]\nlvl = 1\n", "gateway.log.lvl: there is no such setting; did you mean level?"),
    ('[providers.openai]\napikey = "x"\n', "providers.openai.apikey: there is no such setting; did you mean api_key?"),
    (WALL + CHAT + "[routes.chat.retry]\nmax_sec = 1\n", "routes.chat.retry.max_sec: there is no such setting; did you mean max_s?"),
    (WALL + CHAT + "[routes.chat.timeouts]\nmin_token_per_s = 1\n", "routes.chat.timeouts.min_token_per_s: there is no such setting; did you mean min_tokens_per_s?"),
    ("[providers.openai.timeouts]\ntotal_s = 1\n", "providers.openai.timeouts.total_s: there is no such setting"),
    ("[timeouts]\nzzz = 1\n", "timeouts.zzz: there is no such setting; there are connect_s, first_token_s"),
    ('[providers.openai]\n"x y" = 1\n', 'providers.openai."x y": there is no such setting'),
    # kinds
    ("gateway = 1\n", "gateway: must be a table"),
    ("providers = []\n", "providers: must be a table"),
    ("[providers]\nwall = 1\n", "providers.wall: must be a table"),
    (WALL + '[routes.chat]\ntargets = "wall/m"\n', "routes.chat.targets: must be a list"),
    ("[gateway]\nport = true\n", "gateway.port: must be a port (0 takes a free one), a whole number from 0 to 65535, not true"),
    ('[gateway]\nport = "80"\n', "gateway.port: must be a port (0 takes a free one), a whole number from 0 to 65535, not a string"),
    ("[timeouts]\nidle_s = false\n", "timeouts.idle_s: must be a number of seconds above 0 and at most 86400, not false"),
    ("[timeouts]\nidle_s = 1979-05-27\n", "timeouts.idle_s: must be a number of seconds above 0 and at most 86400, not a date or time"),
    ("[providers.openai]\napi_key = 7\n", "providers.openai.api_key: must be a string, not a number"),
    # ranges
    ("[gateway]\nport = 65536\n", "not 65536"),
    ("[gateway]\nport = -1\n", "gateway.port: must be a port"),
    ("[gateway]\nport = 80.5\n", "not 80.5"),
    ("[gateway]\nport = 0x" + "f" * 10_000 + "\n", "not a number as large as that"),
    ("[gateway]\nmax_body_mb = 0\n", "gateway.max_body_mb: must be a number of megabytes above 0 and at most 1024, not 0"),
    ("[timeouts]\ntotal_s = -1\n", "timeouts.total_s: must be a number of seconds above 0"),
    ("[timeouts]\nconnect_s = 0\n", "timeouts.connect_s: must be a number of seconds above 0"),
    ("[timeouts]\nconnect_s = nan\n", "timeouts.connect_s: must be"),
    ("[timeouts]\nconnect_s = inf\n", "timeouts.connect_s: must be"),
    ("[timeouts]\nconnect_s = 1e400000\n", "timeouts.connect_s: must be"),
    ("[timeouts]\nmin_tokens_per_s = -1\n", "timeouts.min_tokens_per_s: must be a number of tokens per second (0 is off) from 0 to 10000, not -1"),
    ("[timeouts]\nkeepalive_s = -0.1\n", "timeouts.keepalive_s: must be a number of seconds (0 is off) from 0"),
    ("[retry]\njitter = 1.01\n", 'retry.jitter: must be "full" or a fraction from 0 to 1, not 1.01'),
    ("[retry]\njitter = -0.1\n", 'retry.jitter: must be "full" or a fraction from 0 to 1, not -0.1'),
    ('[retry]\njitter = "none"\n', 'retry.jitter: must be "full" or a fraction from 0 to 1, not a string'),
    ("[retry]\nmax_retries = -1\n", "retry.max_retries: must be a whole number from 0 to 100, not -1"),
    ("[retry]\nmax_attempts = 0\n", "retry.max_attempts: must be a whole number from 1 to 100, not 0"),
    ("[breaker]\nfailure_ratio = 1.5\n", "breaker.failure_ratio: must be a number above 0 and at most 1, not 1.5"),
    ("[breaker]\nsuccess_threshold = 0\n", "breaker.success_threshold: must be a whole number from 1 to 10000, not 0"),
    ("[breaker]\nopen_s = -1\n", "breaker.open_s: must be a number from 0.001 to 86400, not -1"),
    ("[breaker]\nenabled = 1\n", "breaker.enabled: must be true or false, not 1"),
    ("[bulkhead]\nmax_concurrent = 2.5\n", "bulkhead.max_concurrent: must be a whole number from 1 to 100000, not 2.5"),
    ("[providers.openai.adaptive]\ndecrease = 1\n", "providers.openai.adaptive.decrease: must be a number from 0.1 to 0.99, not 1"),
    ("[rate]\nrequests = 0\n", "rate.requests: must be a whole number from 1 to 1000000, not 0"),
    ("[hedge]\npercentile = 100\n", "hedge.percentile: must be a number above 0 and at most 99, not 100"),
    ("[retry]\nbudget_ratio = 2\n", "retry.budget_ratio: must be a number from 0 to 1, not 2"),
    ("[idempotency]\nttl_s = 0\n", "idempotency.ttl_s: must be a number above 0 and at most 31536000, not 0"),
    ("[overall]\nmax_concurrent = 0\n", "overall.max_concurrent: must be a whole number from 1 to 100000, not 0"),
    ('[models."gpt-*".rate]\ntokens = -1\n', 'models."gpt-*".rate.tokens: must be a whole number from 1 to 10000000000, not -1'),
    ("[retry]\nmultiplier = 0.5\n", "retry.multiplier: must be a number from 1 to 100, not 0.5"),
    # choices
    (WALL + CHAT + 'on_break = "resum"\n', 'routes.chat.on_break: must be "error" or "resume" or "buffer", not a string; did you mean resume?'),
    (WALL + CHAT + "fallback_on = [400]\n", 'routes.chat.fallback_on[0]: must be 401, 403, 404 or "content_policy", not 400'),
    (WALL + CHAT + "fallback_on = [true]\n", "routes.chat.fallback_on[0]: must be 401"),
    ('[ledger]\ndurability = "disk"\n', 'ledger.durability: must be "process" or "power"'),
    ('[gateway.log]\nlevel = "warn"\n', "gateway.log.level: must be"),
    # settings that can't hold together
    ("[retry]\nbase_s = 9\n", "retry.base_s: must be at most max_s, which is 8 (built-in), not 9"),
    ("[retry]\nmax_s = 0.1\n", "retry.max_s: must be at least base_s, which is 0.5 (built-in), not 0.1"),
    (WALL + CHAT + "[routes.chat.retry]\nbase_s = 3\n[providers.wall.retry]\nmax_s = 2\n", "routes.chat.retry.base_s: must be at most max_s, which is 2 (providers.wall.retry.max_s), not 3"),
    ("[breaker]\nopen_s = 700\n", "breaker.open_s: can't hold together with the others: open_s must be at most max_open_s, which is 600, not 700"),
    ("[hedge]\ndelay_s = 1\npercentile = 95\n", "hedge.delay_s: can't hold together with the others"),
    ("[adaptive]\nmin_limit = 50\nmax_limit = 20\n", "adaptive.min_limit: can't hold together with the others"),
    ('[models."gpt-*"]\n', 'models."gpt-*": limits nothing; add rate = { requests = 60 }, or leave it out'),
    ("[timeouts]\nconnect_s = 20\ntotal_s = 10\n", "timeouts.connect_s: must be at most total_s, which is 10 (timeouts.total_s)"),
    (WALL + CHAT + "[routes.chat.timeouts]\nfirst_token_s = 601\n", "routes.chat.timeouts.first_token_s: must be at most total_s, which is 600 (built-in)"),
    (WALL + CHAT + 'set = { seed = 1 }\ndrop = ["seed"]\n', "routes.chat.drop: seed is also in set"),
    ('[providers.openai]\napi_key = "k"\nauth = "none"\n', 'providers.openai.api_key: contradicts auth = "none"'),
    # providers
    ("[providers.own]\n", "providers.own.dialect: is missing"),
    ('[providers.own]\ndialect = "openai_chat"\n', "providers.own.base_url: is missing"),
    ("[providers.opnai]\n", "did you mean openai?"),
    (WALL.replace("openai_chat", "openai_chatt"), 'providers.wall.dialect: must be "openai_chat" or "anthropic" or "gemini"; did you mean openai_chat?'),
    (WALL.replace("http://", ""), "providers.wall.base_url: must be an address such as https://host/v1: it does not begin with"),
    (WALL.replace("http://", "ftp://"), "it does not begin with http:// or https://"),
    (WALL.replace("127.0.0.1:8401", ""), "providers.wall.base_url: must be an address such as https://host/v1: it names no host"),
    (WALL.replace("8401", "99999"), "its host or port can't be read"),
    (WALL.replace("8401", "0"), "port 0 can't be reached"),
    (WALL.replace("http://", "http://me:pw@"), "name and password don't belong"),
    (WALL.replace("/v1", "/v1?key=1"), "what follows ? or #"),
    (WALL + "[providers.WALL]\n", "providers.WALL: is there twice, also as wall: names don't differ by case"),
    ('[providers."a/b"]\ndialect = "openai_chat"\nbase_url = "http://h"\n', 'providers."a/b": a name is made of letters'),
    ('[providers.openai]\napi_key = "schlüssel"\n', "providers.openai.api_key: holds characters that can't be part of a key"),
    ('[providers.openai]\nheaders = { "x y" = "1" }\n', "providers.openai.headers: has a name that can't be an HTTP header's"),
    ('[providers.openai]\nheaders = { X-A = "1", x-a = "2" }\n', "x-a is there twice"),
    ('[providers.openai]\nheaders = { Host = "h" }\n', "providers.openai.headers: Host is written by the gateway itself"),
    ('[providers.openai]\nheaders = { x = "a\\r\\nb: c" }\n', "x holds characters that can't be in an HTTP header"),
    # routes
    ("[routes.chat]\n", "routes.chat.targets: is missing: a route needs at least one target"),
    ("[routes.chat]\ntargets = []\n", "routes.chat.targets: is empty: a route needs at least one target"),
    (WALL + '[routes.chat]\ntargets = ["wal/m"]\n', "routes.chat.targets[0]: there is no provider wal; did you mean wall?"),
    (WALL + '[routes.chat]\ntargets = ["openai/m"]\n', "routes.chat.targets[0]: there is no provider openai in this file; add [providers.openai]"),
    (WALL + '[routes.chat]\ntargets = ["wall/m", "wall"]\n', "routes.chat.targets[1]: must be a provider and a model with a slash between"),
    (WALL + '[routes.chat]\ntargets = ["wall/"]\n', "routes.chat.targets[0]: must be a provider and a model"),
    (WALL + "[routes.chat]\ntargets = [7]\n", 'such as "openai/gpt-5.4-mini", not 7'),
    (WALL + '[routes.chat]\ntargets = ["wall/{mode}"]\n', "routes.chat.targets[0]: has braces that are no {model}"),
    (WALL + '[routes.chat]\ntargets = ["wall/{model}"]\n', "routes.chat.targets: {model} stands for nothing here"),
    (WALL + CHAT + 'models = ["[a-z]"]\n', "routes.chat.models[0]: must be a model's name or a pattern"),
    (WALL + CHAT + 'models = ["gpt-*", ""]\n', "routes.chat.models[1]: must be a model's name or a pattern"),
    (WALL + CHAT + '[routes.CHAT]\ntargets = ["wall/m"]\n', "routes.CHAT: is there twice, also as chat"),
    (WALL + CHAT + 'drop = ["messages"]\n', "routes.chat.drop[0]: messages can't be dropped"),
    (WALL + CHAT + "set = { model = 1 }\n", "routes.chat.set: model can't be set for a whole route"),
    (WALL + CHAT + "set = { a = 1979-05-27 }\n", "routes.chat.set: a holds a date or time, which JSON can't say"),
    (WALL + CHAT + "set = { a = nan }\n", "which JSON can't say"),
    ('default_route = "chatt"\n' + WALL + CHAT, "default_route: there is no such route; did you mean chat?"),
    # several keys, deployments, the way out
    ('[providers.openai]\napi_key = "a"\napi_keys = ["b"]\n', "providers.openai.api_key: contradicts api_keys"),
    ("[providers.openai]\napi_keys = []\n", "providers.openai.api_keys: is empty: leave it out"),
    ('[providers.openai]\napi_keys = ["a", 7]\n', "providers.openai.api_keys[1]: must be a string, not a number"),
    ('[providers.openai]\napi_keys = ["a"]\nauth = "none"\n', 'providers.openai.api_keys[0]: contradicts auth = "none"'),
    ('[providers.openai]\napi_keys = "a"\n', "providers.openai.api_keys: must be a list"),
    (DEPLOYED + 'api_key = "b"\n' + DEPLOYMENT.replace("one", "ONE"), "providers.openai.deployments[1].name: is there twice, also as one"),
    (DEPLOYED.replace('api_key = "a"', 'api_keys = ["a"]'), "providers.openai.api_keys: contradicts deployments"),
    (DEPLOYED.replace('api_key = "a"', 'auth = "none"') + 'api_key = "b"\n', 'providers.openai.deployments[0].api_key: contradicts auth = "none"'),
    (DEPLOYED + "weight = 0\n", "providers.openai.deployments[0].weight: must be a number from 0.000001 to 1000000, not 0"),
    (DEPLOYED + "wieght = 2\n", "providers.openai.deployments[0].wieght: there is no such setting; did you mean weight?"),
    (DEPLOYED + 'base_url = "h"\n', "providers.openai.deployments[0].base_url: must be an address"),
    (DEPLOYED.replace('name = "one"\n', ""), "providers.openai.deployments[0].name: is missing"),
    (DEPLOYED.replace('"one"', '"a b"'), "providers.openai.deployments[0].name: must be a name of up to 32 letters"),
    (DEPLOYED.replace("[[", "[").replace("]]", "]"), "providers.openai.deployments: must be a list of tables, each under [[providers.openai.deployments]]"),
    ('[providers.azure]\napi_key = "a"\n' + DEPLOYMENT.replace("openai", "azure") + 'base_url = "h"\n', "providers.azure.deployments[0].base_url: must be an address"),
    ('[providers.own]\ndialect = "gemini"\n' + DEPLOYMENT.replace("openai", "own") + 'base_url = "h"\n', "providers.own.deployments[0].base_url: must be an address"),
    ('[providers.gemini]\ndialect = "anthropic"\n' + DEPLOYMENT.replace("openai", "gemini") + 'base_url = "h"\n', "providers.gemini.deployments[0].base_url: must be an address"),
    ("[providers.openai]\ndeployments = []\n", "providers.openai.deployments: is empty: leave it out"),
    ('[providers.own]\ndialect = "anthropic"\n' + DEPLOYMENT.replace("openai", "own"), "providers.own.base_url: is missing"),
    ('[providers.openai]\nproxy = "h:3128"\n', "providers.openai.proxy: a proxy is given as http://"),
    ("[outbound]\nproxy = 3128\n", "outbound.proxy: must be a proxy's address, such as \"http://host:3128\""),
    ('[outbound]\nca_file = "/nowhere/ca.pem"\n', "outbound.ca_file: /nowhere/ca.pem does not exist"),
    (DEPLOYED + 'ca_file = "pyproject.toml"\n', "providers.openai.deployments[0].ca_file: pyproject.toml holds no certificates in PEM form"),
    ("[outbound]\nca_file = 1\n", "outbound.ca_file: must be the path of a PEM file"),
    ('[outbound]\nprxy = "http://h"\n', "outbound.prxy: there is no such setting; did you mean proxy?"),
    ('[providers.openai]\nheaders = { proxy-authorization = "x" }\n', "proxy-authorization is written by the gateway itself"),
    ('[providers.openai]\napi_version = "2024-10-21"\n', "providers.openai.api_version: belongs to azure"),
    ('[providers.azure]\nbase_url = "http://127.0.0.1"\napi_version = "a/b"\n', "providers.azure.api_version: must be a version such as"),
    ('[providers.openai]\nbase_url = "https://h/v1/chat/completions"\n', "providers.openai.base_url: ends with /chat/completions, which is added to it"),
    ('[providers.azure]\nbase_url = "https://h/openai/v1/"\napi_key = "k"\n', "providers.azure.base_url: ends with /openai/v1, which is added to it"),
    ('[providers.azure]\nbase_url = "https://h/openai"\napi_key = "k"\n', "providers.azure.base_url: ends with /openai, which"),
    ('[providers.gemini]\nbase_url = "https://h/v1beta/models"\n', "providers.gemini.base_url: ends with /models, which"),
    ('[providers.gemini]\ndialect = "openai_chat"\n', 'providers.gemini.dialect: is "gemini" at gemini\'s own address'),
    ('[providers.openai]\nunsupported = ["image.url"]\n', 'providers.openai.unsupported[0]: must be the name of a parameter, such as "seed", or of a kind of part: image, audio, file, video'),
    ('[providers.openai]\nunsupported = ["messages"]\n', "providers.openai.unsupported[0]: must be the name of a parameter"),
    # groups and tables of targets
    (WALL + "[routes.chat]\ntargets = [[]]\n", "routes.chat.targets[0]: is empty: a group of equals needs"),
    (WALL + '[routes.chat]\ntargets = ["wall/m", ["wall/m", "wlal/m"]]\n', "routes.chat.targets[1][1]: there is no provider wlal; did you mean wall?"),
    (WALL + '[routes.chat]\ntargets = [[["wall/m"]]]\n', "routes.chat.targets[0][0]: must be a provider and a model with a slash between"),
    (WALL + '[routes.chat]\ntargets = [{ target = "wall/m", wheight = 1 }]\n', "routes.chat.targets[0].wheight: there is no such setting; did you mean weight?"),
    (WALL + "[routes.chat]\ntargets = [{ weight = 1 }]\n", "routes.chat.targets[0].target: is missing"),
    (WALL + "[routes.chat]\ntargets = [{ target = 1 }]\n", "routes.chat.targets[0].target: must be a provider and a model"),
    (WALL + '[routes.chat]\ntargets = [[{ target = "wall/m", weight = -1 }]]\n', "routes.chat.targets[0][0].weight: must be a number from"),
    (WALL + '[routes.chat]\ntargets = [{ target = "wall/m", weight = inf }]\n', "routes.chat.targets[0].weight: must be a number from"),
    (WALL + '[routes.chat]\ntargets = [{ target = "wall/m", weight = 1e-999 }]\n', "routes.chat.targets[0].weight: must be a number from"),
    (WALL + '[routes.chat]\ntargets = [{ target = "wall/m", set = { stream = true } }]\n', "routes.chat.targets[0].set: stream can't be set"),
    (WALL + CHAT.replace('"wall/m"', '{ target = "wall/m", set = { seed = 1 } }') + 'drop = ["seed"]\n', "routes.chat.targets[0].set: seed is also in the route's drop"),
    (WALL + CHAT + 'drop = ["image.detial"]\n', "routes.chat.drop[0]: is no field that can be dropped; did you mean image.detail?"),
    (WALL + "[timeouts]\ntotal_s = 1e-999\n", "timeouts.total_s: must be a number of seconds above 0"),
    # keys, host, ledger, prices
    (f'[gateway]\nmetrics_key = "k"\n[keys.a]\nsha256 = "{sha256(b"k").hexdigest()}"\n', "keys.a.sha256: is that of gateway.metrics_key"),
    ('[gateway]\nadmin_key = "k"\nmetrics_key = "k"\n', "gateway.metrics_key: is the same as gateway.admin_key"),
    (f'[gateway]\nadmin_key = "k"\n[keys.a]\nsha256 = "{sha256(b"k").hexdigest()}"\n', "keys.a.sha256: is that of gateway.admin_key"),
    (f'[keys.a]\nsha256 = "{SHA}"\nteam = "a team"\n', "keys.a.team: must be 1 to 64 letters, digits"),
    (f'[keys.a]\nsha256 = "{SHA}"\ntags = {{ env = 1 }}\n', "keys.a.tags: must have names and values of"),
    (f'[keys.a]\nsha256 = "{SHA}"\ntags = "env"\n', "keys.a.tags: must be a table of names and strings"),
    (f'[keys.a]\nsha256 = "{SHA}"\n[keys.a.tags]\n' + "".join(f't{n} = "x"\n' for n in range(17)), "keys.a.tags: holds 17 tags: 16 at most"),
    ('[gateway]\nhost = "a b"\n', "gateway.host: must be an IP address or a host name"),
    ('[keys.a]\nsha256 = "abc"\n', "keys.a.sha256: must be the key's SHA-256 as 64 hexadecimal digits"),
    ("[keys.a]\n", "keys.a.sha256: is missing"),
    (f'[keys.a]\nsha256 = "{SHA}"\n[keys.b]\nsha256 = "{SHA.upper()}"\n', "keys.b.sha256: is the same as that of a"),
    (f'[keys.a]\nsha256 = "{SHA}"\nroutes = ["chat", "drll"]\n' + WALL + '[routes.drill]\ntargets = ["wall/m"]\n', "keys.a.routes[1]: there is no such route; did you mean drill?"),
    (f'[keys.a]\nsha256 = "{SHA}"\nroutes = []\n', "keys.a.routes: is empty, so this key may do nothing"),
    ('[ledger]\nurl = "sqlite:///:memory:"\n', "ledger.url: must be"),
    ('[ledger]\nurl = "mysql://h/d"\n', 'ledger.url: must be "sqlite:///" and a file'),
    ('[prices."openai/gpt-4o"]\ninput_per_1m = -1\noutput_per_1m = 1\n', 'prices."openai/gpt-4o".input_per_1m: must be 0 or more'),
    ('[prices."openai/gpt-4o"]\ninput_per_1m = 1\n', 'prices."openai/gpt-4o".output_per_1m: is missing'),
    ("[prices]\nx = 1\n", "prices.x: must be a table"),
    # the environment
    ('[providers.openai]\napi_key = "${KEY}"\n', "providers.openai.api_key: the environment variable KEY is not set"),
    ('[providers.openai]\napi_key = "${KEY:?see the wiki}"\n', "providers.openai.api_key: the environment variable KEY is needed: see the wiki"),
    (WALL + '[routes.chat]\ntargets = ["wall/m", "${T}"]\n', "routes.chat.targets[1]: the environment variable T is not set"),
    (WALL + CHAT + "set" + ".a" * 5000 + " = 1\n", "routes.chat.set.a: is nested more than 32 deep"),
    ('[prices."wall/m"]\ninput_per_1m = "${P}"\noutput_per_1m = 1\n', 'prices."wall/m".input_per_1m: the environment variable P is not set'),
    ('[gateway]\nport = "${PORT}"\n', "gateway.port: the environment variable PORT is not set"),
    (WALL.replace("http://127.0.0.1:8401/v1", "${URL}"), "providers.wall.base_url: the environment variable URL is not set"),
    ('default_route = "${R}"\n', "default_route: the environment variable R is not set"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), CASES, ids=range(len(CASES)))
def test_says_where_what_and_what_would_be_right(text: str, said: str) -> None:
    found = problems(text)
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(("text", "said"), CASES, ids=range(len(CASES)))
def test_one_mistake_is_one_problem(text: str, said: str) -> None:
    """A faulty setting isn't also missing, and nothing that refers to it is complained about."""
    allowed = 2 if "is missing" in said or "opnai" in text or "-chat" in said else 1
    assert len(problems(text)) <= allowed


def test_all_problems_come_at_once_each_with_its_path() -> None:
    text = """
default_route = "nowhere"
[gateway]
port = 99999
hots = "x"
[ledger]
durability = 3
[providers.wall]
dialect = "openai_chat"
base_url = "127.0.0.1"
api_key = "${MISSING}"
[routes.chat]
targets = ["wall/a", "nobody/b", 5]
on_break = "x"
[routes.chat.retry]
jitter = 2
base_s = 30
[routes.empty]
[keys.a]
sha256 = "z"
[prices."wall/a"]
input_per_1m = "free"
output_per_1m = 1
"""
    assert sorted(problem.split(":")[0] for problem in problems(text)) == [
        "default_route",
        "gateway.hots",
        "gateway.port",
        "keys.a.sha256",
        "ledger.durability",
        'prices."wall/a".input_per_1m',
        "providers.wall.api_key",
        "providers.wall.base_url",
        "routes.chat.on_break",
        "routes.chat.retry.base_s",
        "routes.chat.retry.jitter",
        "routes.chat.targets[1]",
        "routes.chat.targets[2]",
        "routes.empty.targets",
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_key(host: str) -> None:
    assert read(f'[gateway]\nhost = "{host}"\n').open


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.4", "::ffff:127.0.0.1", "gateway.example.org"])
def test_any_other_bind_needs_a_key_also_from_the_command_line(host: str) -> None:
    """Which may be in the ledger: the gateway looks there when it starts."""
    assert not load(None, {}, host=host).open
    said = warnings_of(load(None, {}, host=host), at_ns=0)
    assert any(each.startswith("gateway.host: other machines can reach this address") for each in said)
    assert not read(f'[gateway]\nhost = "{host}"\n[keys.a]\nsha256 = "{SHA}"\n').open


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[gateway\n", "line 1"),
        (b"a = 1\n\nb = = 2\n", "line 3, column 5"),
        (b"a = 1\na = 2\n", "line 2"),
        (b'a = "caf\xe9"\n', "line 1: is not valid UTF-8"),
        (b"\n\n\xff", "line 3: is not valid UTF-8"),
        (b"a = " + b"[" * 50_000, "nested too deep"),
        (b"a = " + b"9" * 5_000, "a number or date in it can't be read"),
        (b"a = 1e" + b"9" * 30, "a number or date in it can't be read"),
        (b"a = 2026-02-30\n", "not valid TOML"),
        (b"#" * (4 * 2**20 + 1), "larger than 4 MB"),
    ],
    ids=range(10),
)
def test_what_is_no_toml_is_refused_with_its_place(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert said in caught.value.problems[0]
    assert str(file) in caught.value.problems[0]


@pytest.mark.parametrize("name", ["missing.toml", ".", "a\0b"])
def test_a_file_that_cant_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load(str(tmp_path / name), {})


def test_the_example_with_every_name_misspelt_names_the_right_one() -> None:
    for right in (
        "connect_s",
        "first_token_s",
        "answer_s",
        "idle_s",
        "max_retries",
        "base_s",
        "max_s",
        "jitter",
    ):
        wrong = right[:-1] + "x"
        found = problems(EXAMPLE.replace(f"\n{right} ", f"\n{wrong} "))
        assert any(
            f"{wrong}: there is no such setting; did you mean {right}?" in problem for problem in found
        ), found
