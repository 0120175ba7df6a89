"""``[budgets.NAME]``: what each says, and what no budget can say."""

from __future__ import annotations

import tomllib
from decimal import Decimal

import pytest

from holdfast.config import parse
from holdfast.errors import ConfigError

PROVIDER = '[providers.openai]\napi_key = "x"\n'


def rules(text: str):
    return parse(tomllib.loads(PROVIDER + text, parse_float=Decimal), {}).budgets


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        rules(text)
    return str(error.value)


def test_what_is_left_out():
    (rule,) = rules("[budgets.all]\nlimit_usd = 0.000000001\n")
    assert (rule.name, rule.scope, rule.window, rule.limit, rule.measure) == ("all", "all", "month", 1, "usd")
    assert (rule.hard, rule.warn_at, rule.match) == (True, 0.8, ())
    (rule,) = rules('[budgets.each]\nscope = "session"\nlimit_tokens = 5\n')
    assert (rule.window, rule.limit, rule.measure) == ("session", 5, "tokens")


def test_a_tags_values():
    (rule,) = rules('[budgets.p]\nscope = "tag:project"\nmatch = ["north*"]\nlimit_usd = 1\nhard = false\n')
    assert (rule.scope, rule.tag, rule.match, rule.hard) == ("tag", "project", ("north*",), False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "limit_usd: is missing: say limit_usd, or limit_tokens"),
        ("limit_usd = 1\nlimit_tokens = 1", "and limit_tokens are both there"),
        ('limit_usd = "much"', "must be an amount of dollars"),
        ('limit_tokens = "many"', "limit_tokens: must be"),
        ("limit_usd = nan", "must be an amount of dollars"),
        ("limit_usd = -1", "must be an amount of dollars"),
        ("limit_usd = 0.0000000001", "9 decimals at most"),
        ("limit_tokens = 1.5", "limit_tokens: must be"),
        ('limit_usd = 1\nwindow = "week"', 'must be "session" or "hour"'),
        ('limit_usd = 1\nwindow = "session"', 'is "session" where the scope is, and only there'),
        ('limit_usd = 1\nscope = "session"\nwindow = "day"', 'must be "session"'),
        ('limit_usd = 1\nscope = "everybody"', 'or "tag:NAME", not "everybody"'),
        ('limit_usd = 1\nscope = "tag"', '"tag:NAME"'),
        ('limit_usd = 1\nscope = "key:ann"', '"tag:NAME"'),
        ("limit_usd = 1\nwarn_at = 2", "warn_at: must be"),
        ("limit = 1", "limit"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_crashes(text, says):
    assert says in problem(f"[budgets.b]\n{text}\n").replace("budgets.b.", "")


def test_cost_protections_own_names_are_taken():
    assert "take another one" in problem('[budgets."cost_protection.hourly"]\nlimit_usd = 1\n')
