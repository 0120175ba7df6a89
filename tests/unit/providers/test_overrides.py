"""Prices that an operator states, and everything that can be wrong with them."""

import tomllib
from decimal import Decimal

import pytest

from holdfast.model.usage import Usage
from holdfast.providers.overrides import OverrideTable, parse_overrides

USAGE = Usage(input_tokens=1_000, output_tokens=500)


def parse(toml):
    return parse_overrides(tomllib.loads(toml, parse_float=Decimal)["prices"])


def table(toml):
    overrides, problems = parse(toml)
    assert problems == []
    return OverrideTable(overrides)


def problems(toml):
    overrides, found = parse(toml)
    assert overrides == ()
    return found


class TestUnits:
    def test_per_1k_and_per_1m_say_the_same_thing(self):
        per_1k = table('[prices."wall/m"]\ninput_per_1k = 0.0025\noutput_per_1k = 0.01').find("wall", "m")
        per_1m = table('[prices."wall/m"]\ninput_per_1m = 2.5\noutput_per_1m = 10').find("wall", "m")
        assert per_1k.cost(USAGE).nano == per_1m.cost(USAGE).nano == 7_500_000
        assert per_1k.id == per_1m.id

    def test_mixing_them_is_refused(self):
        assert problems('[prices."wall/m"]\ninput_per_1k = 0.0025\noutput_per_1m = 10') == [
            'prices."wall/m": mixes _per_1k and _per_1m; state all of a model\'s prices in one unit'
        ]

    def test_giving_both_is_refused(self):
        found = problems('[prices."wall/m"]\ninput_per_1k = 1\ninput_per_1m = 1\noutput_per_1m = 1')
        assert len(found) == 1
        assert "mixes" in found[0]

    def test_no_unit_is_refused(self):
        found = problems('[prices."wall/m"]\ninput = 1\noutput_per_1m = 1')
        assert found[0].startswith('prices."wall/m".input: unknown; known are input')


class TestValues:
    @pytest.mark.parametrize(
        ("value", "why"),
        [
            ("-1", "must be 0 or more"),
            ("-0.000001", "must be 0 or more"),
            ("nan", "finite"),
            ("inf", "finite"),
            ("true", "not bool"),
            ('"2.5"', "not str"),
            ("1000001", "at most"),
            ("1e300000", "at most"),
            ("1e-300000", "decimals"),
        ],
    )
    def test_that_are_refused(self, value, why):
        found = problems(f'[prices."wall/m"]\ninput_per_1m = {value}\noutput_per_1m = 1')
        assert len(found) == 1
        assert found[0].startswith('prices."wall/m".input_per_1m: ')
        assert why in found[0]

    def test_floats_are_refused_with_the_reason(self):
        overrides, found = parse_overrides({"wall/m": {"input_per_1m": 0.1, "output_per_1m": 1}})
        assert overrides == ()
        assert found == [
            'prices."wall/m".input_per_1m: 0.1 is a binary float, which can\'t hold most prices exactly; '
            "give a Decimal or an integer"
        ]

    def test_zero_is_a_price(self):
        assert (
            table('[prices."wall/m"]\ninput_per_1m = 0\noutput_per_1m = 0.0')
            .find("wall", "m")
            .cost(USAGE)
            .nano
            == 0
        )

    def test_input_and_output_are_both_needed(self):
        assert problems('[prices."wall/m"]\ninput_per_1m = 1') == [
            'prices."wall/m".output_per_1m: is missing; write 0 if it is free'
        ]

    def test_an_entry_is_a_table(self):
        assert problems('[prices]\n"wall/m" = 3')[0].startswith('prices."wall/m": must be a table')

    def test_all_problems_come_at_once_and_sound_entries_survive(self):
        overrides, found = parse(
            '[prices."a/x"]\ninput_per_1m = -1\noutput_per_1m = nan\ninptu_per_1m = 2\n'
            '[prices."b/y"]\ninput_per_1m = 1\noutput_per_1m = 2\n[prices."/z"]\ninput_per_1m = 1\noutput_per_1m = 2'
        )
        assert [override.model for override in overrides] == ["y"]
        assert [problem.split(":")[0] for problem in found] == [
            'prices."a/x".input_per_1m',
            'prices."a/x".output_per_1m',
            'prices."a/x".inptu_per_1m',
            'prices."/z"',
        ]

    def test_the_same_model_twice_is_refused(self):
        overrides, found = parse(
            '[prices."A/X"]\ninput_per_1m = 1\noutput_per_1m = 2\n[prices."a/x"]\ninput_per_1m = 3\noutput_per_1m = 4'
        )
        assert len(overrides) == 1
        assert found[0].startswith('prices."a/x": this model\'s price is stated twice')


class TestNames:
    prices = table(
        '[prices."OpenAI/GPT-4o"]\ninput_per_1m = 1\noutput_per_1m = 0\n'
        '[prices."openai/gpt-4o-2024-05-13"]\ninput_per_1m = 2\noutput_per_1m = 0\n'
        '[prices."gpt-4o"]\ninput_per_1m = 3\noutput_per_1m = 0\n'
        '[prices."openrouter/openai/gpt-4o"]\ninput_per_1m = 4\noutput_per_1m = 0\n'
        '[prices."wall/fb"]\ninput_per_1m = 5\noutput_per_1m = 0\n'
    )

    @pytest.mark.parametrize(
        ("provider", "model", "rate"),
        [
            ("openai", "gpt-4o", 1),
            ("OPENAI", "Gpt-4O", 1),
            ("openai", "openai/gpt-4o", 1),
            ("openai", "models/gpt-4o", 1),
            ("openai", "gpt-4o-2024-08-06", 1),
            ("openai", "gpt-4o@20240806", 1),
            ("openai", "gpt-4o-2024-05-13", 2),
            ("azure", "gpt-4o", 3),
            ("wall", "models/gpt-4o-2024-08-06", 3),
            ("openrouter", "openai/gpt-4o", 4),
            ("wall", "fb", 5),
        ],
    )
    def test_that_match(self, provider, model, rate):
        assert self.prices.find(provider, model).bound(1, 0) == rate * 1_000

    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("openai", "gpt-4o-mini"),
            ("openai", "gpt-4"),
            ("wall", "fb-1000"),  # digits that are a size, not a date
            ("wall", "fb-ok"),
            ("attic", "fb"),
            ("openrouter", "anthropic/gpt-4o"),
        ],
    )
    def test_that_do_not(self, provider, model):
        assert self.prices.find(provider, model) is None


def test_what_is_left_out_costs_what_its_total_does():
    price = table('[prices."wall/m"]\ninput_per_1m = 2\noutput_per_1m = 8\ncache_read_per_1m = 0.5').find(
        "wall", "m"
    )
    usage = Usage(
        input_tokens=10, cache_read_tokens=4, cache_write_tokens=3, output_tokens=6, reasoning_tokens=6
    )
    assert price.cost(usage).nano == 6 * 2_000 + 4 * 500 + 6 * 8_000


def test_the_bound_takes_the_dearest_kind():
    price = table(
        '[prices."wall/m"]\ninput_per_1m = 2\noutput_per_1m = 8\ninput_audio_per_1m = 30\noutput_audio_per_1m = 60'
    ).find("wall", "m")
    assert price.bound(10, 5) == 10 * 30_000 + 5 * 60_000


def test_the_id_changes_with_the_price():
    before = table('[prices."wall/m"]\ninput_per_1m = 2\noutput_per_1m = 8').find("wall", "m")
    after = table('[prices."wall/m"]\ninput_per_1m = 2\noutput_per_1m = 9').find("wall", "m")
    assert before.id.startswith("override:wall/m#")
    assert before.id != after.id
