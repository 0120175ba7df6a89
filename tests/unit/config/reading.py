"""Shared by the tests here: text in, configuration or problems out."""

import tomllib
from decimal import Decimal

import pytest

from holdfast.config import Config, Provider, parse
from holdfast.errors import ConfigError

EXAMPLE = """\
[gateway]
host = "127.0.0.1"
port = 8080

[ledger]
url = "sqlite:///holdfast.db"

[providers.openai]                     # a known name brings dialect, base URL and auth
api_key = "${OPENAI_API_KEY:-none}"

[providers.wall]                       # anything that speaks a known dialect
dialect = "openai_chat"
base_url = "http://127.0.0.1:8401/v1"
api_key = "x"

[routes.chat]                          # a caller may ask for model "chat" …
targets = ["openai/gpt-4o", "wall/fb-ok"]
[routes.chat.timeouts]
connect_s = 5
first_token_s = 30
answer_s = 300
idle_s = 30
total_s = 600
[routes.chat.retry]
max_retries = 2
base_s = 0.5
max_s = 8
jitter = "full"

[routes.drill]                         # … or for any model that matches
models = ["fb-*"]
targets = ["wall/{model}", "wall/fb-ok"]
on_break = "error"
"""

WALL = """\
[providers.wall]
dialect = "openai_chat"
base_url = "http://127.0.0.1:8401/v1"
api_key = "x"
"""


def read(text: str, env: dict[str, str] | None = None) -> Config:
    return parse(tomllib.loads(text, parse_float=Decimal), env or {})


def problems(text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, env)
    assert caught.value.problems
    for problem in caught.value.problems:
        assert problem in str(caught.value)
    return list(caught.value.problems)


def keys_of(provider: Provider) -> list[str | None]:
    """The key of each deployment."""
    return [each.key.reveal() if each.key is not None else None for each in provider.deployments]
