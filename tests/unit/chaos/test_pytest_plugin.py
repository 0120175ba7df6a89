"""The pytest plugin, as a project's own tests use it: each run is a pytest process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import json
import pytest
from urllib.request import Request, urlopen
from urllib.error import HTTPError

def ask(server, text="hi", **more):
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    try:
        with urlopen(Request(server.base_url + "/chat/completions", json.dumps(body).encode()), timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())
"""


class Run:
    """What a pytest process said."""

    def __init__(self, folder: Path, source: str, *options: str) -> None:
        (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers -p no:cacheprovider\n")
        (folder / "test_it.py").write_text(HEAD + source)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options],
            cwd=folder,
            env={**os.environ, "PYTHONWARNINGS": "error"},
            capture_output=True,
            text=True,
            timeout=100,
        )
        self.code = done.returncode
        self.out = done.stdout + done.stderr
        self.summary = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


@pytest.fixture
def run(tmp_path):
    return lambda source, *options: Run(tmp_path, source, *options)


def test_a_test_gets_a_real_server_with_the_markers_settings(run):
    done = run(
        """
@pytest.mark.chaosllm(script="429 retry-after=1; ok", seed=3, tokens=4)
def test_all(chaosllm_server):
    assert chaosllm_server.url.startswith("http://127.0.0.1:")
    assert chaosllm_server.admin_url == chaosllm_server.url + "/admin"
    assert ask(chaosllm_server)[0] == 429
    status, answer = ask(chaosllm_server)
    assert (status, answer["usage"]["completion_tokens"]) == (200, 4)
    first, second = chaosllm_server.wait_for_requests(2, timeout=5, ended=True)
    assert (first.status, second.status, second.text) == (429, 200, answer["choices"][0]["message"]["content"])
    assert chaosllm_server.get_stats()["attempts"] == 2
    chaosllm_server.update_config(rate_limit_pct=100, default="ok")
    chaosllm_server.reset()
    assert chaosllm_server.journal() == []
    assert ask(chaosllm_server)[0] == 429
    chaosllm_server.update_config(rate_limit_pct=0)
    assert ask(chaosllm_server)[0] == 200

def test_without_a_marker_it_is_healthy(chaosllm_http_server):
    assert ask(chaosllm_http_server)[0] == 200

def test_both_names_are_one_server(chaosllm_server, chaosllm_http_server):
    assert chaosllm_server is chaosllm_http_server

@pytest.mark.chaosllm(clock="hand", ttft=3600)
def test_hours_pass_by_hand(chaosllm_server):
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, chaosllm_server)
        chaosllm_server.wait_for_requests(1)
        chaosllm_server.advance(3599)
        assert chaosllm_server.journal()[0].end is None
        chaosllm_server.advance(1)
        assert answer.result(10)[0] == 200
"""
    )
    assert (done.code, done.summary.split(" in ")[0]) == (0, "4 passed"), done.out


def test_markers_of_class_and_module_are_the_ground_of_the_tests_own(run):
    done = run(
        """
pytestmark = pytest.mark.chaosllm(seed=1, tokens=3)

@pytest.mark.chaosllm(tokens=5)
class TestGroup:
    @pytest.mark.chaosllm(preset="silent", service_unavailable_pct=100)
    def test_it(self, chaosllm_server):
        config = chaosllm_server.config
        assert (config.seed, config.tokens, config.preset) == (1, 5, "silent")
        assert ask(chaosllm_server)[0] == 503
"""
    )
    assert done.code == 0, done.out


WRONG = {
    "rate_limt_pct=5": "unknown option 'rate_limt_pct': did you mean 'rate_limit_pct'?",
    "rate_limit_pct=101": "rates.rate_limit: ",
    "rate_limit_pct=60, reset_pct=60": "rates: the shares add up to 120 %",
    "preset='gentel'": "unknown preset 'gentel': did you mean 'gentle'?",
    "script='429; hng'": "default: step 2: unknown word 'hng': did you mean 'hang'?",
    "ttft='soon'": "pace.ttft: Expected `float`, got `str`",
    "'gentle'": "takes options by name, not 'gentle'",
}


def test_what_cant_be_meant_is_an_error_of_the_test(run):
    done = run(
        "\n".join(
            f"@pytest.mark.chaosllm({marker})\ndef test_{i}(chaosllm_server):\n    pass\n"
            for i, marker in enumerate(WRONG)
        )
    )
    assert done.code == 1
    assert done.summary.startswith(f"{len(WRONG)} errors in ")
    for message in WRONG.values():
        assert message in done.out


def test_a_marker_without_the_fixture_is_an_error(run):
    done = run("@pytest.mark.chaosllm(seed=1)\ndef test_it():\n    pass\n")
    assert done.code == 1
    assert "has no effect: the test asks for no chaosllm_server" in done.out


def test_a_failed_test_tells_what_its_provider_did(run):
    done = run(
        """
@pytest.mark.chaosllm(script="503")
def test_it(chaosllm_server):
    assert ask(chaosllm_server)[0] == 200
"""
    )
    assert done.code == 1
    assert "chaosllm journal" in done.out
    assert "openai_chat m attempt 1 (default): 503, 0 tokens, complete; status" in done.out


def test_every_worker_has_servers_of_its_own(run):
    done = run(
        """
@pytest.mark.parametrize("i", range(12))
@pytest.mark.chaosllm(script="429; ok")
def test_it(chaosllm_server, i):
    assert [ask(chaosllm_server)[0] for _ in range(3)] == [429, 200, 200]
    assert len(chaosllm_server.journal()) == 3
""",
        "-n",
        "2",
    )
    assert (done.code, done.summary.split(" in ")[0]) == (0, "12 passed"), done.out


def test_it_costs_nothing_where_no_test_asks_for_it(run):
    done = run(
        """
def test_it():
    import sys
    assert "holdfast.chaos_pytest" in sys.modules
    assert not [name for name in sys.modules if name.startswith(("holdfast.chaos.", "msgspec", "httptools"))]
"""
    )
    assert done.code == 0, done.out
