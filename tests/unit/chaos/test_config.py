"""Configuration: strict with its paths, merged in its order, and told so that it can be read again."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.chaos import ChaosConfig, ChaosError, merge, presets
from holdfast.chaos.config import FIXED

# What can't be meant.


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sed": 1}, "unknown setting 'sed': did you mean 'seed'?"),
        ({"seed": "1"}, "seed: Expected `int`, got `str`"),
        ({"tokens": -1}, "tokens: Expected `int` >= 0"),
        ({"tokens": True}, "tokens: Expected `int`, got `bool`"),
        ({"pace": {"ttft": "fast"}}, "pace.ttft: Expected `float`, got `str`"),
        ({"pace": {"ttft": float("nan")}}, "pace.ttft: Expected `float` >= 0.0"),
        ({"pace": {"ttfb": 1}}, "pace.ttfb: unknown setting"),
        ({"pace": {"jitter": 1.1}}, "pace.jitter: Expected `float` <= 1.0"),
        ({"default": "rset"}, "default: step 1: unknown word 'rset': did you mean 'reset'?"),
        ({"default": "ttft=nan"}, "default: step 1: ttft: Expected `float` >= 0.0"),
        ({"default": "60% 429 | 41% 503"}, "default: step 1: the shares add up to 101 %"),
        ({"scripts": {"gpt-*": "ok; 50"}}, "scripts.gpt-*: step 2: "),
        ({"routes": {"/v1/*": "nope"}}, "routes./v1/*: step 1: "),
        ({"markers": {"[a]": 5}}, "markers.[a]: a script is text, a step or a list of steps, not int"),
        ({"keys": {"sk-secret": "nope"}}, "keys.***: step 1: "),
        ({"keys": {"sk-secret": {"tokens": -1}}}, "keys.***: step 1: tokens: Expected `int` >= 0"),
        ({"rates": {"429": 101}}, "rates.429: a share is a number of percent"),
        ({"rates": {"429": float("nan")}}, "rates.429: a share is a number of percent"),
        ({"rates": {"429": 50, "503": 50.1}}, "rates: the shares add up to 100.1 %"),
        ({"rates": {"rset": 1}}, "rates.rset: unknown word 'rset': did you mean 'reset'?"),
        ({"rates": {"": 1}}, "rates.: an empty step"),
        ({"rates": {"429 x3": 1}}, "rates.429 x3: 'xN' holds for a step"),
        ({"rates": {"5% 429": 1}}, "rates.5% 429: the share stands beside a step"),
        ({"rates": {"429; 503": 1}}, "rates.429; 503: one step, without ';'"),
        (
            {"rates": {"429": {"pct": 1, "with": "retry-aftr=1"}}},
            "rates.429: unknown setting 'retry_aftr': did you",
        ),
        ({"rates": {"429": 1, "429_pct": 2}}, "rates.429_pct: its share is said twice"),
        ({"rates": [1]}, "rates: Expected `object`, got `array`"),
        ({"models": "gpt"}, "models: Expected `array`, got `str`"),
        ({"max_keys": 0}, "max_keys: Expected `int` >= 1"),
        ({"clock": "sun"}, "clock: Invalid enum value 'sun'"),
        ({"preset": "gentel"}, "unknown preset 'gentel': did you mean 'gentle'?"),
        ({"preset": ["gentle"]}, "unknown preset ['gentle']: "),
        ({"preset": "realistic", "rates": {"429": 99}}, "rates: the shares add up to "),
    ],
)
def test_what_cant_be_meant_names_its_place(given, said):
    with pytest.raises(ChaosError) as raised:
        ChaosConfig.from_dict(given)
    assert str(raised.value).startswith(said)
    assert "sk-secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = ", "c.toml: Invalid value"),
        ("[chaos]\nsed = 1", "c.toml: unknown setting 'sed'"),
        ("chaos = 3", "c.toml: chaos is no table"),
        ("[pace]\nttft = nan", "c.toml: pace.ttft: Expected `float` >= 0.0"),
        ("tokens = 1e400", "c.toml: tokens: Expected `int`, got `float`"),
    ],
)
def test_a_files_errors_name_it(tmp_path, text, said):
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ChaosError) as raised:
        ChaosConfig.load(file)
    assert str(raised.value).startswith(f"{tmp_path}/{said}")


def test_a_file_that_is_no_text_or_not_there(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ChaosError, match=r"c\.toml: "):
        ChaosConfig.load(tmp_path / "c.toml")
    with pytest.raises(FileNotFoundError):
        ChaosConfig.load(tmp_path / "no.toml")


# Which of several says it.


def test_the_command_line_goes_before_the_file_and_the_file_before_the_preset(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text(
        'preset = "gentle"\nseed = 1\ntokens = 2\n[pace]\nttft = 0.5\ntps = 7\n[rates]\nrate_limit_pct = 9\nreset = 3'
    )
    config = ChaosConfig.load(file, {"tokens": 3, "pace": {"tps": 8}, "rates": {"reset": None, "503": 1}})
    below = presets.load("gentle")
    assert (config.seed, config.tokens) == (1, 3)
    assert (config.pace.ttft, config.pace.tps, config.pace.delay) == (0.5, 8, below["pace"]["delay"])
    assert config.rates["rate_limit"] == {
        **below["rates"]["rate_limit"],
        "pct": 9,
    }  # its burst and settings stay
    assert config.rates["503"] == {"pct": 1}
    assert "reset" not in config.rates
    assert ChaosConfig.load(file, {"preset": "silent"}).rates["rate_limit"] == {"pct": 9}


def test_patterns_of_above_are_looked_at_first():
    below, above = {"scripts": {"gpt-*": "503", "a": "ok"}}, {"scripts": {"gpt-4*": "ok", "a": "429"}}
    assert list(merge(below, above)["scripts"].items()) == [("gpt-4*", "ok"), ("a", "429"), ("gpt-*", "503")]


def test_a_model_may_be_called_rates():
    merged = merge({"scripts": {"rates": {"tokens": 4}}}, {"scripts": {"rates": {"reasoning": 5}}})
    assert merged == {"scripts": {"rates": {"reasoning": 5, "tokens": 4}}}


_NAMES = st.sampled_from(["a", "b", "c", "rate_limit"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)
_TABLES = st.dictionaries(_NAMES, _VALUES, max_size=4)


def rfc_7386(target, patch):
    """MergePatch as the RFC's pseudocode has it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = rfc_7386(result.get(name), value)
    return result


@given(_TABLES, _TABLES)
def test_merging_is_rfc_7386(below, above):
    before = json.dumps([below, above])
    assert merge(below, above) == rfc_7386(below, above)
    assert json.dumps([below, above]) == before


# All that can be said, as data.

_STEPS = st.sampled_from(
    ["429", "429 retry-after=2", "reset", "cut=fin after=2", "overloaded", "hang=1", "tokens=4"]
)
_SCRIPTS = _STEPS | st.lists(_STEPS, min_size=1, max_size=3) | st.just("5% 429 burst=3 | ok; 503 x2")
_PERCENTS = st.floats(0, 14) | st.fixed_dictionaries(
    {"pct": st.floats(0, 14)}, optional={"burst": st.integers(1, 9)}
)
_RATES = st.dictionaries(_STEPS, _PERCENTS, max_size=7)
_CAPACITIES = st.fixed_dictionaries(
    {"concurrent": st.integers(1, 99)},
    optional={
        "queue": st.integers(0, 9),
        "per": st.sampled_from(["server", "model", "key"]),
        "beyond": _STEPS.filter(lambda step: step != "tokens=4"),  # who is turned away gets no answer
    },
)
_WINDOWS = st.one_of(
    st.fixed_dictionaries(
        {"script": _SCRIPTS}, optional={"at": st.floats(0, 99), "models": st.just("gpt-*")}
    ),
    st.fixed_dictionaries(
        {"rates": _RATES.filter(bool), "for": st.floats(1, 9)}, optional={"ramp": st.just([0.1, 1])}
    ),
    st.fixed_dictionaries({"capacity": _CAPACITIES, "for": st.just(2), "every": st.just(5.5)}),
    st.fixed_dictionaries(
        {"door": st.sampled_from(["refused", "silent"])}, optional={"at": st.integers(0, 9)}
    ),
)
_SETTINGS = {
    "seed": st.integers(0, 2**70),
    "tokens": st.integers(0, 99),
    "pace": st.fixed_dictionaries({}, optional={"ttft": st.floats(0, 9), "batch": st.integers(1, 9)}),
    "default": _SCRIPTS,
    "rates": _RATES,
    "scripts": st.dictionaries(st.sampled_from(["gpt-*", "m", "*"]), _SCRIPTS, max_size=3),
    "routes": st.dictionaries(st.just("/v1/*"), _SCRIPTS),
    "keys": st.dictionaries(st.sampled_from(["k1", "k2"]), _SCRIPTS),
    "markers": st.dictionaries(st.just("[x]"), _SCRIPTS),
    "timeline": st.lists(_WINDOWS, max_size=3),
    "capacity": st.none() | _CAPACITIES,
    "limits": st.none() | st.fixed_dictionaries({"requests_per_minute": st.integers(1, 99)}),
    "models": st.lists(st.text(max_size=4), max_size=3),
    "admin_token": st.none() | st.text(max_size=4),
}
_GIVEN = st.fixed_dictionaries(
    {}, optional={**_SETTINGS, "preset": st.none() | st.sampled_from(presets.NAMES)}
)


def configured(given):
    """None where the shares of preset and settings are too many together."""
    try:
        return ChaosConfig.from_dict(given)
    except ChaosError as error:
        assert "the shares add up to" in str(error)  # noqa: PT017  # the only thing that may be wrong with these
        return None


@given(_GIVEN)
def test_what_is_told_reads_the_same(given):
    config = configured(given)
    if config is None:
        return
    assert ChaosConfig.from_dict(config.values()) == config
    assert ChaosConfig.from_dict(json.loads(msgspec.json.encode(config.values()))) == config


@given(
    _GIVEN, st.fixed_dictionaries({}, optional={name: st.none() | value for name, value in _SETTINGS.items()})
)
def test_a_patch_changes_what_it_names_and_nothing_else(given, patch):
    config = configured(given)
    if config is None:
        return
    try:
        changed = config.merged(patch)
    except ChaosError as error:
        assert "the shares add up to" in str(error)  # noqa: PT017  # the only thing that may be wrong with these
        return
    untouched = even(ChaosConfig())
    was, now = even(config), even(changed)
    for name in ChaosConfig.__struct_fields__:
        if name not in patch:
            assert now[name] == was[name]
        elif patch[name] is None:
            assert now[name] == untouched[name]
        elif not isinstance(patch[name], dict):
            assert now[name] == even(ChaosConfig.from_dict({name: patch[name]}))[name]
    assert ChaosConfig.from_dict(changed.values()) == changed
    assert even(config.merged({})) == was


def even(config):
    """As data; a share in percent and the table that it stands for are the same."""
    values = msgspec.to_builtins(config)
    return values | {"rates": merge({}, {"rates": values["rates"]})["rates"]}


def test_a_rate_taken_out_of_a_preset_stays_out():
    config = ChaosConfig.from_dict({"preset": "gentle"}).merged({"rates": {"rate_limit": None}})
    assert (config.preset, list(config.rates)) == ("gentle", ["service_unavailable"])
    assert ChaosConfig.from_dict(config.values()) == config


def test_null_takes_a_setting_inside_a_table_back_to_its_default():
    config = ChaosConfig.from_dict({"pace": {"ttft": 1, "tps": 9}, "limits": {"requests_per_minute": 1}})
    changed = config.merged(
        {"pace": {"ttft": None}, "limits": None, "capacity": {"concurrent": 2, "queue": None}}
    )
    assert (changed.pace.ttft, changed.pace.tps, changed.limits) == (0, 9, None)
    assert (changed.capacity.concurrent, changed.capacity.queue) == (2, 0)


def test_another_preset_takes_the_place_of_all_but_the_servers_own():
    own = {
        "seed": 5,
        "api_keys": ["k"],
        "models": ["m"],
        "admin_token": "t",
        "max_body": 1000,
        "body_keep": 7,
    }
    config = ChaosConfig.from_dict({**own, "preset": "realistic", "scripts": {"m": "503"}, "tokens": 7})
    changed = config.merged({"preset": "gentle", "tokens": 9})
    assert changed == ChaosConfig.from_dict({**own, "preset": "gentle", "tokens": 9})
    assert changed.merged({"preset": None}) == msgspec.structs.replace(changed, preset=None)


def test_a_change_that_cant_be_meant_changes_nothing():
    config = ChaosConfig.from_dict({"rates": {"429": 60}})
    with pytest.raises(ChaosError, match="rates: the shares add up to 110 %"):
        config.merged({"rates": {"503": 50}})
    with pytest.raises(ChaosError, match="unknown setting 'tokns'"):
        config.merged({"tokns": 3})


@pytest.mark.parametrize("name", FIXED)
def test_what_cant_change_while_a_server_runs(name):
    others = {
        "clock": "hand",
        "journal_bytes": 5,
        "journal_entries": 5,
        "journal_file": "f",
        "max_keys": 5,
        "realtime": {"session_s": 5},
    }
    config = ChaosConfig()
    with pytest.raises(ChaosError, match=f"{name} can't change while the server runs"):
        config.check_live(ChaosConfig.from_dict({name: others[name]}))


def test_everything_else_can():
    ChaosConfig().check_live(
        ChaosConfig.from_dict({"preset": "chaos", "seed": 3, "max_body": 5, "models": ["a"]})
    )
