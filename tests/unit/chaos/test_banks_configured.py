"""Banks of recorded answers, from the configuration to the socket."""

import json

import pytest
from tests.unit.chaos.raw import ask, payload

from holdfast.chaos import ChaosConfig, ChaosError, run_chaos

ROWS = '{"match": {"contains": "weather"}, "text": "Rain."}\n{"text": "Lisbon."}\n'


def said(chaos, prompt: str) -> str:
    messages = [{"role": "user", "content": prompt}]
    body = json.loads(ask(chaos.port, payload(messages=messages)).body)
    return body["choices"][0]["message"]["content"]


def test_a_banks_answers_are_served_and_it_can_be_changed_while_it_runs(tmp_path):
    (tmp_path / "a.jsonl").write_text(ROWS)
    (tmp_path / "b.jsonl").write_text('{"text": "Porto."}\n')
    config = ChaosConfig.from_dict({"banks": {"a": str(tmp_path / "a.jsonl")}, "default": "bank=a"})
    with run_chaos(config) as chaos:
        assert (said(chaos, "the weather?"), said(chaos, "the capital?")) == ("Rain.", "Lisbon.")
        chaos.update_config(banks={"b": str(tmp_path / "b.jsonl")}, script="bank=b")
        assert said(chaos, "the capital?") == "Porto."
        with pytest.raises(ChaosError, match=r"banks\.c: .*No such file"):
            chaos.update_config(banks={"c": str(tmp_path / "c.jsonl")}, script="bank=c")
        assert said(chaos, "the capital?") == "Porto."  # as before, whole


@pytest.mark.parametrize(
    "script", ["bank=b", "ok; bank=b", "5% bank=b | ok", [{"rates": {"bank=b": 5}}]], ids=str
)
def test_a_bank_that_isnt_there_is_an_error_of_the_script(tmp_path, script):
    (tmp_path / "a.jsonl").write_text(ROWS)
    values = {"banks": {"a": str(tmp_path / "a.jsonl")}, "scripts": {"m": script}}
    with pytest.raises(ChaosError, match=r"scripts\.m: unknown bank 'b': valid names: a"):
        ChaosConfig.from_dict(values)


def test_a_bad_file_stops_the_start_and_names_its_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "Lisbon."}\n{"txt": 1}\n')
    config = ChaosConfig.from_dict({"banks": {"a": str(tmp_path / "a.jsonl")}})
    with pytest.raises(ChaosError, match=r"banks\.a: .*a\.jsonl.*2"), run_chaos(config):
        pass
