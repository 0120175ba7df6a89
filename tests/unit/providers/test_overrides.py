"""Prices that an operator states, and everything that can be wrong with them."""

import tomllib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.usage import Usage
from holdfast.providers.bands import KINDS
from holdfast.providers.override_reading import parse_overrides
from holdfast.providers.overrides import OverrideTable
from holdfast.testing.strategies import json_values

USAGE = Usage(input_tokens=1_000, output_tokens=500)


def parse(toml):
    return parse_overrides(tomllib.loads(toml, parse_float=Decimal)["prices"])


class Table:
    def __init__(self, overrides):
        self._table = OverrideTable(overrides)

    def find(self, provider, model, tier=None):
        prices = self._table.find(provider, model)
        return None if prices is None else prices.get(tier)


def table(toml):
    overrides, problems = parse(toml)
    assert problems == []
    return Table(overrides)


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


class TestEveryKind:
    def test_has_a_price_of_its_own(self):
        stated = "\n".join(f"{kind}_per_1m = {n}" for n, kind in enumerate(KINDS, start=1))
        price = table(f'[prices."wall/m"]\n{stated}').find("wall", "m")
        assert price.bands[0].rates == {kind: n for n, kind in enumerate(KINDS, start=1)}

    def test_what_is_kept_for_an_hour(self):
        price = table(
            '[prices."wall/m"]\ninput_per_1m = 3\noutput_per_1m = 15\ncache_write_per_1m = 3.75\ncache_write_1h_per_1m = 6'
        ).find("wall", "m")
        usage = Usage(
            input_tokens=10, cache_write_tokens=7, cache_write_1h_tokens=4, output_tokens=0
        )  # three of them for five minutes
        assert price.cost(usage).nano == 3 * 3_000 + 3 * 3_750 + 4 * 6_000

    def test_what_a_request_and_a_search_cost(self):
        price = table(
            '[prices."wall/m"]\ninput_per_1m = 0\noutput_per_1m = 0\nper_request_usd = 0.005\nper_web_search_usd = 0.01'
        ).find("wall", "m")
        usage = Usage(input_tokens=1, output_tokens=1, extra={"num_search_queries": 2})
        assert price.cost(usage).nano == 5_000_000 + 20_000_000


class TestAbove:
    prices = table(
        '[prices."wall/m"]\ninput_per_1k = 1\noutput_per_1k = 10\n'
        "above = [{ input_tokens = 500, input_per_1k = 3, output_per_1k = 30 },"
        " { input_tokens = 200, input_per_1k = 2, output_per_1k = 20, cache_read_per_1k = 1 }]\n"
    )

    @pytest.mark.parametrize(("tokens", "rate"), [(200, 1), (201, 2), (500, 2), (501, 3)])
    def test_a_longer_input_costs_more_altogether(self, tokens, rate):
        price = self.prices.find("wall", "m")
        assert price.cost(Usage(input_tokens=tokens, output_tokens=1)).nano == (tokens + 10) * rate * 10**6

    def test_what_an_edge_leaves_out_costs_what_its_total_does(self):
        usage = Usage(input_tokens=600, cache_read_tokens=600, output_tokens=0)
        assert self.prices.find("wall", "m").cost(usage).nano == 600 * 3 * 10**6

    @pytest.mark.parametrize(
        ("above", "problem"),
        [
            ("5", "above: must be a list of tables"),
            ("[5]", "above: must be a list of tables"),
            ("[{ input_per_1m = 1, output_per_1m = 1 }]", "above[0].input_tokens: must say above how many"),
            (
                "[{ input_tokens = 0, input_per_1m = 1, output_per_1m = 1 }]",
                "above[0].input_tokens: must say above how many",
            ),
            (
                "[{ input_tokens = 1.5, input_per_1m = 1, output_per_1m = 1 }]",
                "above[0].input_tokens: must say",
            ),
            ("[{ input_tokens = 9, input_per_1m = 1 }]", "above[0].output_per_1m: is missing"),
            (
                "[{ input_tokens = 9, input_per_1m = 1, output_per_1m = 1 }, "
                "{ input_tokens = 9, input_per_1m = 1, output_per_1m = 1 }]",
                "above[1].input_tokens: 9 is there twice",
            ),
            (
                "[" + "{ input_tokens = 9, input_per_1m = 1, output_per_1m = 1 }, " * 33 + "]",
                "above: has 33 entries",
            ),
            (
                "[{ input_tokens = 9, input_per_1m = -1, output_per_1m = 1 }]",
                "above[0].input_per_1m: must be 0 or more",
            ),
            (
                "[{ input_tokens = 9, input_per_1k = 1, output_per_1k = 1 }]",
                '"wall/m": mixes _per_1k and _per_1m',
            ),
            ("[{ input_tokns = 9, input_per_1m = 1, output_per_1m = 1 }]", "did you mean input_tokens?"),
        ],
    )
    def test_that_can_t_be(self, above, problem):
        found = problems(f'[prices."wall/m"]\ninput_per_1m = 1\noutput_per_1m = 1\nabove = {above}')
        assert any(problem in each for each in found), found


class TestTiers:
    def test_each_is_a_price_of_its_own(self):
        prices = table(
            '[prices."wall/m"]\ninput_per_1m = 2\noutput_per_1m = 4\ncache_read_per_1m = 1\nper_request_usd = 1\n'
            '[prices."wall/m".priority]\ninput_per_1m = 4\noutput_per_1m = 8\n'
            "above = [{ input_tokens = 100, input_per_1m = 5, output_per_1m = 9 }]"
        )
        usage = Usage(input_tokens=100, cache_read_tokens=100, output_tokens=0)
        assert prices.find("wall", "m").cost(usage).nano == 100_000 + 10**9
        assert prices.find("wall", "m", "priority").cost(usage).nano == 400_000  # nothing is inherited
        assert prices.find("wall", "m", "priority").bound(101, 0) == 505_000
        assert prices.find("wall", "m").id != prices.find("wall", "m", "priority").id

    @pytest.mark.parametrize(
        ("tier", "problem"),
        [
            ('[prices."wall/m".flex]\ninput_per_1m = 1', 'prices."wall/m".flex.output_per_1m: is missing'),
            (
                '[prices."wall/m".flexx]\ninput_per_1m = 1',
                'prices."wall/m".flexx: unknown; did you mean flex?',
            ),
            ("flex = 1", 'prices."wall/m".flex: must be a table'),
            ('[prices."wall/m".flex]\ninput_per_1k = 1\noutput_per_1k = 1', "mixes _per_1k and _per_1m"),
            ('[prices."wall/m".flex.batch]\ninput_per_1k = 1', "flex.batch: unknown"),
        ],
    )
    def test_that_can_t_be(self, tier, problem):
        found = problems(f'[prices."wall/m"]\ninput_per_1m = 1\noutput_per_1m = 1\n{tier}')
        assert any(problem in each for each in found), found


def test_a_missing_price_is_asked_for_in_the_unit_of_the_others():
    assert problems('[prices."wall/m"]\ninput_per_1k = 1') == [
        'prices."wall/m".output_per_1k: is missing; write 0 if it is free'
    ]


@given(
    st.dictionaries(st.text(max_size=12) | st.sampled_from(["above", "flex", "input_per_1m"]), json_values())
)
def test_nothing_that_a_file_says_is_an_error_of_ours(entry):
    overrides, found = parse_overrides({"wall/m": entry})
    assert (overrides == ()) == bool(found)
    assert all(each.startswith('prices."wall/m"') for each in found)
