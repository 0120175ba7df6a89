"""``[cost_protection]``, ``[sessions]`` and the environment over them: what holds, where it came from, what is wrong."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal

import pytest
from tests.unit.config.reading import problems, read

from holdfast.config import check, explain, load, parse
from holdfast.config.cost_protection import DEFAULTS, HOURLY, VARIABLES
from holdfast.config.schema import CostProtectionTable
from holdfast.money.cost import NANO
from holdfast.money.cost_breaker import CostBreakerSettings
from holdfast.money.session import BUDGET, SessionSettings

ON = {"COST_PROTECTION_ENABLED": "true"}
ALL = {
    "COST_PROTECTION_ENABLED": "true",
    "COST_PROTECTION_MAX_SESSION_COST_USD": "5.0",
    "COST_PROTECTION_SESSION_MINUTES": "45",
    "COST_PROTECTION_WARN_AT": "0.5",
    "COST_PROTECTION_HOURLY_LIMIT_USD": "20.5",
    "COST_PROTECTION_CIRCUIT_BREAKER_THRESHOLD_USD": "100.0",
    "COST_PROTECTION_CIRCUIT_BREAKER_WINDOW_HOURS": "12",
    "COST_PROTECTION_COOL_DOWN_S": "60",
}


def protection(text="", env=None):
    return read(text, env or {}).cost_protection


class TestDefaults:
    def test_off_and_the_documents_numbers(self):
        found = protection()
        assert not found.enabled
        assert found.rules == ()
        assert found.session == SessionSettings()
        assert found.breaker == CostBreakerSettings()

    def test_on_it_makes_a_budget_of_each_session_and_of_each_key(self):
        session, hourly = protection("[cost_protection]\nenabled = true\n").rules
        assert (session.name, session.scope, session.window, session.limit_nano) == (
            BUDGET,
            "session",
            "session",
            5 * NANO,
        )
        assert (hourly.name, hourly.scope, hourly.window, hourly.limit_nano) == (
            HOURLY,
            "key",
            "hour",
            50 * NANO,
        )
        assert session.hard
        assert hourly.hard

    def test_what_is_built_in_is_what_the_parts_have(self):
        assert {setting.name: setting.value for setting in protection().settings} == DEFAULTS
        assert list(DEFAULTS) == list(CostProtectionTable.model_fields)
        assert protection("[cost_protection]\nenabled = true\n").breaker == CostBreakerSettings()


class TestFile:
    TEXT = """
        [cost_protection]
        enabled = true
        max_session_cost_usd = 0.000000001
        session_minutes = 0.5
        warn_at = 0.9
        hourly_limit_usd = 12.34
        circuit_breaker_threshold_usd = 1_000
        circuit_breaker_window_hours = 48
        cool_down_s = 1.5
        [sessions]
        ids_from = ["claude-code", "openai-user"]
        max_remembered = 7
        max_per_key = 3
    """

    def test_each_setting(self):
        config = read(self.TEXT)
        found = config.cost_protection
        assert found.session == SessionSettings(
            length_s=30.0, limit_nano=1, warn_at=0.9, most=7, most_of_key=3
        )
        assert found.breaker == CostBreakerSettings(
            threshold_nano=1000 * NANO, window_s=48 * 3600.0, cool_down_s=1.5
        )
        assert found.hourly.limit_nano == 12_340_000_000
        assert config.session_ids_from == ("claude-code", "openai-user")

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("max_session_cost_usd = 0", "must be an amount of dollars above 0 and at most 1000000000"),
            ("max_session_cost_usd = -1", "must be an amount of dollars"),
            ("max_session_cost_usd = 0.0000000001", "with 9 decimals at most"),
            ("max_session_cost_usd = nan", "must be an amount of dollars"),
            ("max_session_cost_usd = true", "not true"),
            ('max_session_cost_usd = "5"', "not a string"),
            ("hourly_limit_usd = 1e10", "at most 1000000000"),
            ("circuit_breaker_threshold_usd = []", "not a list"),
            ("circuit_breaker_window_hours = 0.5", "must be a number of hours from 1 to 744"),
            ("session_minutes = 0", "must be a number of minutes from 0.1 to 44640"),
            ("warn_at = 1.01", "must be a number from 0.01 to 1"),
            ("cool_down_s = 0", "must be a number from 1 to 86400"),
            ("enabled = 1", "must be true or false"),
        ],
    )
    def test_what_is_wrong_is_told_with_its_path(self, line, said):
        (problem,) = problems(f"[cost_protection]\n{line}\n")
        assert problem.startswith(f"cost_protection.{line.split()[0]}: ")
        assert said in problem

    def test_a_name_that_there_is_none_of(self):
        (problem,) = problems("[cost_protection]\nmax_session_usd = 5\n")
        assert problem.endswith("there is no such setting; did you mean max_session_cost_usd?")

    def test_a_source_of_ids_that_there_is_none_of(self):
        (problem,) = problems('[sessions]\nids_from = ["claude_code"]\n')
        assert problem.startswith("sessions.ids_from[0]: must be ")
        assert "did you mean claude-code?" in problem

    def test_a_limit_alone_switches_nothing_on(self):
        assert not protection("[cost_protection]\nmax_session_cost_usd = 3\n").enabled

    def test_variables_of_its_own_choice(self):
        text = '[cost_protection]\nenabled = true\nmax_session_cost_usd = "${LIMIT:-3}"\n'
        assert protection(text).session.limit_nano == 3 * NANO
        assert protection(text, {"LIMIT": "4"}).session.limit_nano == 4 * NANO


class TestEnvironment:
    def test_each_setting_has_a_variable(self):
        assert dict(zip(VARIABLES.values(), VARIABLES, strict=True)).keys() == ALL.keys()
        found = protection(env=ALL)
        assert found.enabled
        assert found.session.limit_nano == 5 * NANO
        assert found.session.length_s == 45 * 60
        assert found.session.warn_at == found.hourly.warn_at == 0.5
        assert found.hourly.limit_nano == 20_500_000_000
        assert found.breaker == CostBreakerSettings(
            threshold_nano=100 * NANO, window_s=12 * 3600.0, cool_down_s=60.0
        )

    def test_without_a_file(self):
        assert load(None, ON).cost_protection.enabled

    def test_goes_over_the_file(self):
        text = "[cost_protection]\nenabled = false\nmax_session_cost_usd = 3\nhourly_limit_usd = 9\n"
        found = protection(text, ON | {"COST_PROTECTION_MAX_SESSION_COST_USD": "4"})
        assert found.enabled
        assert found.session.limit_nano == 4 * NANO
        assert found.hourly.limit_nano == 9 * NANO

    def test_goes_over_what_the_file_cant_fill_in(self):
        text = '[cost_protection]\nmax_session_cost_usd = "${NOT_THERE}"\n'
        assert len(problems(text)) == 1
        assert protection(text, {"COST_PROTECTION_MAX_SESSION_COST_USD": "4"}).session.limit_nano == 4 * NANO

    @pytest.mark.parametrize("name", [name for name in VARIABLES if name != "enabled"])
    def test_any_limit_switches_it_on(self, name):
        assert protection(env={VARIABLES[name]: ALL[VARIABLES[name]]}).enabled

    @pytest.mark.parametrize(
        ("text", "env"),
        [("", {"COST_PROTECTION_ENABLED": "false"}), ("[cost_protection]\nenabled = false\n", {})],
    )
    def test_but_not_against_a_word(self, text, env):
        assert not protection(text, env | {"COST_PROTECTION_MAX_SESSION_COST_USD": "4"}).enabled

    @pytest.mark.parametrize(
        ("value", "on"),
        [("true", True), ("TRUE", True), ("1", True), (" true\n", True), ("false", False), ("0", False)],
    )
    def test_the_words_of_the_switch(self, value, on):
        found = protection("[cost_protection]\nenabled = false\n", {"COST_PROTECTION_ENABLED": value})
        assert found.enabled is on

    @pytest.mark.parametrize("value", ["", "  "])
    def test_an_empty_one_is_not_set(self, value):
        assert not protection(env=dict.fromkeys(ALL, value)).enabled

    @pytest.mark.parametrize("variable", VARIABLES.values())
    @pytest.mark.parametrize("value", ["five", "-1", "nan", "1e99"])
    def test_a_bad_value_is_an_error_that_names_the_variable(self, variable, value):
        (problem,) = problems("", {variable: value})
        assert re.fullmatch(rf"cost_protection\.\w+: must be .*, not what \${{{variable}}} holds", problem)

    def test_a_table_that_is_none_is_still_told(self):
        assert problems("cost_protection = 3\n", ON) == ["cost_protection: must be a table"]


class TestTold:
    def sources(self, text="", env=None):
        document = tomllib.loads(text, parse_float=Decimal)
        config = parse({"providers": {"openai": {"api_key": "k"}}, **document}, env or {})
        return {value.name: (value.value, value.source) for value in explain(config, "gpt-4o").protection}

    def test_where_each_value_came_from(self):
        told = self.sources(
            "[cost_protection]\nenabled = true\nwarn_at = 0.7\n", {"COST_PROTECTION_HOURLY_LIMIT_USD": "9"}
        )
        assert told["enabled"] == (True, "cost_protection.enabled")
        assert told["warn_at"] == (0.7, "cost_protection.warn_at")
        assert told["hourly_limit_usd"] == (
            Decimal(9),
            "cost_protection.hourly_limit_usd (environment COST_PROTECTION_HOURLY_LIMIT_USD)",
        )
        assert told["cool_down_s"] == (300.0, "built-in")

    def test_what_switched_it_on(self):
        told = self.sources(env={"COST_PROTECTION_HOURLY_LIMIT_USD": "9"})
        assert told["enabled"][0] is True
        assert told["enabled"][1].endswith("(environment COST_PROTECTION_HOURLY_LIMIT_USD)")

    def test_a_check_says_what_holds(self):
        report = check(None, ALL, at_ns=0)
        assert report.problems == ()
        (note,) = report.notes
        assert note == (
            "cost protection is on: a session may spend $5.0 in 45 minutes, a key $20.5 an hour, "
            "everyone together $100.0 in 12 hours"
        )

    def test_and_nothing_where_nothing_does(self):
        assert check(None, {}, at_ns=0).notes == ()

    @pytest.mark.parametrize(
        ("text", "env", "said"),
        [
            ("[cost_protection]\nwarn_at = 0.7\n", {}, "cost_protection.warn_at: limits nothing"),
            (
                "[cost_protection]\nenabled = false\nwarn_at = 0.7\n",
                {"COST_PROTECTION_WARN_AT": "0.6"},
                "environment COST_PROTECTION_WARN_AT: limits nothing",
            ),
            (
                "",
                {"COST_PROTECTION_MAX_SESION_COST_USD": "5"},
                "environment COST_PROTECTION_MAX_SESION_COST_USD: nothing reads it; "
                "did you mean COST_PROTECTION_MAX_SESSION_COST_USD?",
            ),
            (
                "",
                {
                    "COST_PROTECTION_CIRCUIT_BREAKER_THRESHOLD_USD": "4",
                    "COST_PROTECTION_MAX_SESSION_COST_USD": "5",
                },
                "cost_protection.max_session_cost_usd: is never reached",
            ),
        ],
    )
    def test_what_is_likely_not_meant_is_warned_of(self, tmp_path, text, env, said):
        file = tmp_path / "holdfast.toml"
        file.write_text(text, encoding="utf-8")
        warnings = check(file, env, at_ns=0).warnings
        assert [warning for warning in warnings if "cost_protection" in warning.lower()] == [
            next(warning for warning in warnings if warning.startswith(said))
        ]

    def test_numbers_beside_a_switch_that_is_off_are_nobodys_mistake(self, tmp_path):
        file = tmp_path / "holdfast.toml"
        file.write_text("[cost_protection]\nenabled = false\nwarn_at = 0.7\n", encoding="utf-8")
        assert not [warning for warning in check(file, {}, at_ns=0).warnings if "cost" in warning]
