"""Scripts: what they mean, and what they say when they can't be meant."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from tests.unit.chaos.raw import ask, payload

from holdfast.chaos import FAULTS, ChaosConfig, ChaosError, parse, run_chaos
from holdfast.chaos.settings import AnswerSettings


def shape(source):
    return [
        (
            {name: value for name, value in msgspec.structs.asdict(step.answer).items()
             if value != getattr(AnswerSettings(), name)},
            [(fault.name, msgspec.structs.asdict(chosen)) for fault, chosen in step.faults],
            step.times,
        )
        for step in parse(source).steps
    ]  # fmt: skip  # reads as a table


@pytest.mark.parametrize(
    ("compact", "data"),
    [
        ("429 retry-after=2; tokens=40 cut=reset; ok",
         [{"status": {"code": 429, "retry_after": "2"}}, {"tokens": 40, "cut": "reset"}, "ok"]),
        ("503 x3; ok", [{"status": 503, "times": 3}, "ok"]),
        ("insufficient_quota", [{"status": {"error": "insufficient_quota"}}]),
        ("cut=fin after=3 stall after=1 seconds=2",
         {"cut": {"how": "fin", "after": 3}, "stall": {"after": 1, "seconds": 2}}),
        ("reset chance=0.5", [{"reset": True, "chance": 0.5}]),
        ("text='a; b'", [{"text": "a; b"}]),
    ],
)  # fmt: skip  # pairs side by side
def test_compact_and_data_mean_the_same(compact, data):
    assert shape(compact) == shape(data) == shape(json.loads(json.dumps(data)))


def test_the_last_step_repeats_and_xn_holds():
    script = parse("429 x2; 503; ok")
    codes = [[chosen.code for _, chosen in script.step(n).faults] for n in range(1, 7)]
    assert codes == [[429], [429], [503], [], [], []]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("rset", "step 1: unknown word 'rset': did you mean 'reset'?"),
        ("ok; cut=reset aftr=3", "step 2: unknown setting 'aftr': did you mean 'after'?"),
        ("tokns=3", "step 1: unknown setting 'tokns': did you mean 'tokens'?"),
        ("after=3", "step 1: unknown setting 'after'"),
        ("cut=sideways", "step 1: cut.how: Invalid enum value 'sideways'"),
        ("cut after=-1", "step 1: cut.after: Expected `int` >= 0"),
        ("700", "step 1: status.code: Expected `int` <= 599"),
        ("429 error=insufficient_qota", "step 1: status: unknown error 'insufficient_qota': did you mean"),
        ("reset=3", "step 1: 'reset' takes no value"),
        ("hang hang", "step 1: 'hang' stands twice"),
        ("ok;;ok", "step 2: an empty step"),
        ("", "step 1: an empty step"),
        ("502 body='open", "unclosed quote"),
        ("429 header.x-a='b\r\nc'", "step 1: status.headers"),
        ("429 retry-after='1\r\nx: y'", "step 1: status.retry_after"),
        ([], "a script has at least one step"),
        (7, "a script is text, a step or a list of steps"),
        ([{"cut": {"hwo": "fin"}}], "step 1: unknown setting 'cut.hwo': did you mean 'how'?"),
        ([{"status": 429, "times": 0}], "step 1: times: Expected `int` >= 1"),
    ],
)  # fmt: skip  # pairs side by side
def test_a_bad_script_says_where_and_what(source, message):
    with pytest.raises(ChaosError) as raised:
        parse(source)
    assert message in str(raised.value)


def test_no_setting_of_a_fault_hides_behind_one_of_the_answers():
    answers = set(AnswerSettings.__struct_fields__)
    for fault in FAULTS.values():
        assert not answers & set(fault.settings.__struct_fields__), fault.name
        assert fault.primary is None or fault.primary in fault.settings.__struct_fields__
        assert fault.plain or fault.stream
        assert fault.settings(), "every setting has a default"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sed": 1}, "unknown setting 'sed': did you mean 'seed'?"),
        ({"scripts": {"gpt*": "ok; hng"}}, "scripts.gpt*: step 2: unknown word 'hng': did you mean 'hang'?"),
        ({"tokens": -1}, "tokens: Expected `int` >= 0"),
        ({"api_keys": "k"}, "Expected `array`"),
    ],
)
def test_a_bad_configuration_says_where_and_what(values, message):
    with pytest.raises(ChaosError) as raised:
        ChaosConfig.from_dict(values)
    assert message in str(raised.value)


def test_a_configuration_file(tmp_path):
    file = tmp_path / "chaos.toml"
    file.write_text(
        '[chaos]\nseed = 7\n[chaos.scripts]\n"a*" = "429; ok"\nb = [{ cut = { how = "fin" } }, "ok"]\n'
    )
    config = ChaosConfig.load(file)
    assert (config.seed, sorted(config.scripts)) == (7, ["a*", "b"])
    file.write_text("seed =")
    with pytest.raises(ChaosError, match=r"chaos\.toml"):
        ChaosConfig.load(file)


CONFIG = {
    "tokens": 4,
    "default": "ok",
    "scripts": {"Exact": "500", "e*": "501", "*t": "502"},
    "markers": {"PLEASE FAIL": "503"},
}


@pytest.mark.parametrize(
    ("model", "prompt", "status"),
    [
        ("exact", "hi", 500),
        ("EXACT", "hi", 500),
        ("east", "hi", 501),
        ("tart", "hi", 502),
        ("other", "hi", 200),
        ("exact", "now PLEASE FAIL", 503),
        ("exact", "PLEASE FAIL [[chaos: 504 ]]", 504),
        ("exact", "[[chaos:ok]]", 200),
        ("other", "[[chaos: hng ]]", 400),
    ],
)
def test_which_script_a_request_follows(model, prompt, status):
    with run_chaos(ChaosConfig.from_dict(CONFIG)) as chaos:
        answer = ask(chaos.port, payload(model, messages=[{"role": "user", "content": prompt}]))
    assert answer.status == status
    if status == 400:
        assert "did you mean 'hang'?" in json.loads(answer.body)["error"]["message"]


def test_attempts_count_per_key_and_a_new_script_counts_from_one():
    with run_chaos(ChaosConfig(scripts={"m": "429; 503; ok"})) as chaos:

        def status(key=None):
            prompt = f"[[key={key}]] hi" if key else "hi"
            return ask(chaos.port, payload(messages=[{"role": "user", "content": prompt}])).status

        assert [status(), status("a"), status(), status("a"), status("b"), status()] == [
            429,
            429,
            503,
            503,
            429,
            200,
        ]
        chaos.script("M", "500; ok")
        assert [status(), status()] == [500, 200]
        chaos.reset()
        assert status() == 500


def _all_bytes(seed: int, callers: int) -> dict[str, list[bytes]]:
    """What 20 keys get in three attempts each, asked by ``callers`` at once."""
    script = "cut=clean after=2 chance=0.5"
    config = ChaosConfig(seed=seed, tokens=6, scripts={"m": script})
    with run_chaos(config) as chaos, ThreadPoolExecutor(callers) as pool:

        def one(key: int) -> list[bytes]:
            body = payload(stream=key % 2 == 0, messages=[{"role": "user", "content": f"[[key={key}]]"}])
            return [ask(chaos.port, body).data for _ in range(3)]

        return dict(zip(map(str, range(20)), pool.map(one, range(20)), strict=True))


def test_same_seed_same_bytes_under_any_concurrency():
    alone = _all_bytes(3, 1)
    assert alone == _all_bytes(3, 20)
    other = _all_bytes(4, 20)
    assert all(alone[key] != other[key] for key in alone)
    whole = [b for answers in alone.values() for b in answers if re.search(rb'"finish_reason":"stop"', b)]
    assert 0 < len(whole) < 60, "chance=0.5 spares some and hits some"


def test_attempts_of_one_key_differ_and_chance_is_a_probability():
    with run_chaos(ChaosConfig(scripts={"never": "503 chance=0", "always": "503 chance=1"})) as chaos:
        assert len({ask(chaos.port, payload()).data for _ in range(3)}) == 3
        assert [ask(chaos.port, payload("never")).status for _ in range(5)] == [200] * 5
        assert [ask(chaos.port, payload("always")).status for _ in range(5)] == [503] * 5
        skipped = [entry.skipped for entry in chaos.journal(model="never")]
    assert skipped == [["status"]] * 5


def test_counted_keys_are_bounded():
    with run_chaos(ChaosConfig(default="429; ok", max_keys=2)) as chaos:
        assert [ask(chaos.port, payload(model)).status for model in "abca"] == [429] * 4, "c pushed a out"
        assert ask(chaos.port, payload("c")).status == 200


def test_twenty_callers_of_one_key_get_each_attempt_once():
    def answers(callers: int) -> list[bytes]:
        with run_chaos(ChaosConfig(seed=5)) as chaos, ThreadPoolExecutor(callers) as pool:
            return sorted(pool.map(lambda _: ask(chaos.port, payload()).data, range(20)))

    assert answers(1) == answers(20)
