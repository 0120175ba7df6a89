"""What answers say beside their bodies: ids, versions, and what is left of the limits."""

import json
from datetime import datetime

import anthropic
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.chaos.raw import receive, send
from tests.unit.chaos.speaking import SPEAKERS

from holdfast.chaos import ChaosConfig, run_chaos
from holdfast.chaos.quota import Quota
from holdfast.chaos.rate_limits import Limits
from holdfast.chaos.wire import limit_headers
from holdfast.chaos.wire.errors import Problem
from holdfast.chaos.wire.routes import ANTHROPIC, GEMINI, OPENAI_CHAT

QUOTA = Quota(60, 59, 1.0, 40_000, 39_000, 360.0)
OPENAI_LIMITS = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-limit-tokens": "40000",
    "x-ratelimit-remaining-tokens": "39000",
    "x-ratelimit-reset-tokens": "6m0s",
}
AZURE_PATHS = ("/openai/v1/chat/completions", "/openai/deployments/d/chat/completions?api-version=1")
NEEDED = {
    "openai_chat": {"x-request-id", "openai-version", "openai-processing-ms", "openai-organization", *OPENAI_LIMITS},
    "deepseek": {"x-request-id", "x-ds-trace-id"},
    "openrouter": {"x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"},
    "anthropic": {
        "request-id", "anthropic-organization-id",
        *(
            f"anthropic-ratelimit-{group}-{what}"
            for group in ("requests", "tokens", "input-tokens", "output-tokens")
            for what in ("limit", "remaining", "reset")
        ),
    },
    "gemini": set(),
    "gemini array": set(),
}  # fmt: skip  # lists read better packed
PLAIN = {"content-type", "content-length"}
STREAMED = {"content-type", "transfer-encoding", "cache-control"}


@pytest.fixture(scope="module")
def chaos():
    with run_chaos(ChaosConfig(tokens=2)) as chaos:
        yield chaos


def names(seen):
    return {line.partition(":")[0] for line in seen.head.split("\r\n")[1:]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", list(NEEDED))
def test_each_provider_says_just_its_own(chaos, name, stream):
    seen = SPEAKERS[name].ask(chaos.port, stream=stream)
    assert names(seen) == NEEDED[name] | (STREAMED if stream else PLAIN)


@pytest.mark.parametrize("path", AZURE_PATHS)
def test_azure_says_its_own(chaos, path):
    body = SPEAKERS["openai_chat"].body("hi", stream=False)
    with send(chaos.port, body, path=path) as sock:
        seen = receive(sock)
    assert names(seen) == {"x-request-id", "apim-request-id", "x-ms-region", *OPENAI_LIMITS} | PLAIN


def test_a_count_of_tokens_says_them_too(chaos):
    with anthropic.Anthropic(base_url=chaos.url, api_key="k") as client:
        raw = client.messages.with_raw_response.count_tokens(
            model="m", messages=[{"role": "user", "content": "hi"}]
        )
        assert NEEDED["anthropic"] <= set(raw.headers)


def test_what_the_sdks_make_of_them(chaos):
    with openai.OpenAI(base_url=chaos.base_url, api_key="k") as client:
        answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert answer._request_id.startswith("req_")
    with anthropic.Anthropic(base_url=chaos.url, api_key="k") as client:
        message = client.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
    assert message._request_id.startswith("req_")


def test_the_same_run_says_the_same():
    heads = []
    for _ in range(2):
        with run_chaos(ChaosConfig(tokens=2, seed=4)) as chaos:
            heads.append([SPEAKERS[name].ask(chaos.port).head for name in NEEDED])
    assert heads[0] == heads[1]


def test_openais_limits():
    assert limit_headers.openai(QUOTA) == OPENAI_LIMITS


def test_anthropics_limits():
    told = limit_headers.anthropic(QUOTA)
    assert told["anthropic-ratelimit-requests-limit"] == "60"
    assert told["anthropic-ratelimit-requests-remaining"] == "59"
    assert told["anthropic-ratelimit-requests-reset"] == "2025-08-01T00:00:01Z"
    for group in ("tokens", "input-tokens", "output-tokens"):
        assert told[f"anthropic-ratelimit-{group}-limit"] == "40000"
        assert told[f"anthropic-ratelimit-{group}-remaining"] == "39000"
        assert told[f"anthropic-ratelimit-{group}-reset"] == "2025-08-01T00:06:00Z"


def test_openrouters_limits():
    told = limit_headers.openrouter(QUOTA)
    assert told == {
        "x-ratelimit-limit": "60",
        "x-ratelimit-remaining": "59",
        "x-ratelimit-reset": str(int(datetime.fromisoformat("2025-08-01T00:00:01Z").timestamp() * 1000)),
    }


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0s"), (0.006, "6ms"), (0.12, "120ms"), (0.0001, "1ms"), (0.9999, "1s"), (1, "1s"), (8.64, "8.64s"),
        (59.9999, "1m0s"), (86.4, "1m26.4s"), (360, "6m0s"), (3600, "1h0m0s"), (86_400.5, "24h0m0.5s"),
    ],
)  # fmt: skip  # rows side by side
def test_durations(seconds, told):
    assert limit_headers.go_duration(seconds) == told


@given(st.floats(0, 200_000))
def test_a_duration_is_never_too_short_by_a_microsecond(seconds):
    told = _seconds(limit_headers.go_duration(seconds))
    assert seconds - 1e-6 <= told <= seconds + 0.001 + 1e-6


def _seconds(told):
    if told.endswith("ms"):
        return int(told[:-2]) / 1000
    hours, _, rest = told.rpartition("h")
    minutes, _, seconds = rest.rpartition("m")
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds.removesuffix("s"))


@pytest.mark.parametrize("name", ["rate_limit", "tokens_rate_limit"])
def test_errors_tell_what_was_counted(name):
    problem = Problem(name=name, quota=QUOTA)
    told = OPENAI_CHAT.error(problem, "m", "req_1").headers
    assert told == {"x-request-id": "req_1", **OPENAI_LIMITS}
    told = ANTHROPIC.error(problem, "m", "req_1").headers
    assert told == {"request-id": "req_1", **limit_headers.anthropic(QUOTA)}
    details = GEMINI.error(problem, "m", "req_1").value["error"]["details"]
    (violation,) = details[0]["violations"]
    assert violation["quotaValue"] == ("60" if name == "rate_limit" else "40000")
    assert violation["quotaDimensions"]["model"] == "m"


def test_errors_where_nobody_counted():
    told = OPENAI_CHAT.error(Problem(name="rate_limit"), "m", "r").headers
    assert (told["x-ratelimit-remaining-requests"], told["x-ratelimit-reset-requests"]) == ("0", "1s")
    assert (told["x-ratelimit-remaining-tokens"], told["x-ratelimit-reset-tokens"]) == ("199000", "300ms")
    told = OPENAI_CHAT.error(Problem(name="tokens_rate_limit"), "m", "r").headers
    assert (told["x-ratelimit-remaining-requests"], told["x-ratelimit-reset-requests"]) == ("499", "120ms")
    assert (told["x-ratelimit-remaining-tokens"], told["x-ratelimit-reset-tokens"]) == ("0", "6s")
    told = ANTHROPIC.error(Problem(name="tokens_rate_limit"), "m", "r").headers
    assert told["anthropic-ratelimit-input-tokens-remaining"] == "0"
    assert "anthropic-ratelimit-requests-limit" not in ANTHROPIC.error(Problem(500), "m", "r").headers


def test_a_servers_limits_are_told_before_and_when_they_are_passed():
    config = ChaosConfig(tokens=2, clock="hand", limits=Limits(requests_per_minute=2))
    with run_chaos(config) as chaos:
        seen = [SPEAKERS["openai_chat"].ask(chaos.port) for _ in range(3)]
        other = SPEAKERS["anthropic"].ask(chaos.port)
    left = [(one.status, one.header("x-ratelimit-remaining-requests")) for one in seen]
    assert left == [(200, "1"), (200, "0"), (429, "0")]
    assert [one.header("x-ratelimit-reset-requests") for one in seen] == ["30s", "1m0s", "1m0s"]
    assert seen[2].header("x-ratelimit-limit-requests") == "2"
    assert json.loads(other.body)["error"]["type"] == "rate_limit_error"
    assert other.header("anthropic-ratelimit-requests-reset") == "2025-08-01t00:01:00z"
