"""Gemini on the hot path: what is read of requests and answers, what is patched, what errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast.errors as tree
from holdfast.dialects.base import AUDIO, OTHER, REASONING, TEXT, TOOL, Edit
from holdfast.dialects.gemini import Gemini
from holdfast.dialects.gemini.signed import WAIVER, proof_of, sealed
from holdfast.errors import (
    AuthRefused,
    InvalidRequest,
    ModelMissing,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    ServerFailed,
    TargetsFailed,
)

GEMINI = Gemini()
HI: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
RPC = "type.googleapis.com/google.rpc."


def body(**fields: Any) -> bytes:
    return json.dumps({**HI, **fields}).encode()


def written(request: bytes, model: str = "gemini-3-flash", **overrides: Any) -> dict[str, Any]:
    return json.loads(GEMINI.write_request(GEMINI.read_request(request), model=model, overrides=overrides))


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\r\n\r\n"


def candidate(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"content": {"parts": list(parts), "role": "model"}, **fields}


# Requests.


def test_what_we_do_not_know_travels_as_it_came() -> None:
    request = body(x_number=10**30, generationConfig={"temperature": 0.10, "imageConfig": {"a": 1}})
    assert written(request) == json.loads(request)
    assert b"1000000000000000000000000000000" in GEMINI.write_request(
        GEMINI.read_request(request), model="m", overrides={}
    )


def test_the_model_stands_in_the_url_alone() -> None:
    assert written(body(model="models/gemini-pro")) == HI
    assert GEMINI.read_request(body(model="models/gemini-pro")).model == ""


@pytest.mark.parametrize(
    ("overrides", "config"),
    [
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 1}, {"temperature": 0.5, "topP": 0.9, "topK": 3, "seed": 1}),
        ({"max_tokens": 5}, {"maxOutputTokens": 5}),
        ({"max_completion_tokens": 6}, {"maxOutputTokens": 6}),
        ({"stop": "x"}, {"stopSequences": ["x"]}),
        ({"stop": ["x", "y"], "n": 2}, {"stopSequences": ["x", "y"], "candidateCount": 2}),
        ({"presence_penalty": 1, "frequency_penalty": 2}, {"presencePenalty": 1, "frequencyPenalty": 2}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"reasoning_effort": "low"}, {"thinkingConfig": {"thinkingLevel": "LOW"}}),
        ({"reasoning_effort": "none"}, {"thinkingConfig": {"thinkingBudget": 0}}),
    ],
)  # fmt: skip  # a table reads better packed
def test_a_routes_parameters_go_where_google_has_them(
    overrides: dict[str, Any], config: dict[str, Any]
) -> None:
    assert written(body(), **overrides) == {**HI, "generationConfig": config}


def test_a_routes_parameters_win_in_the_spelling_that_came() -> None:
    request = body(generation_config={"max_output_tokens": 9, "temperature": 1, "x": 2})
    assert written(request, max_tokens=5) == {
        **HI,
        "generation_config": {"maxOutputTokens": 5, "temperature": 1, "x": 2},
    }


def test_effort_is_a_budget_before_gemini_3_and_leaves_what_stands_beside_it() -> None:
    request = body(generationConfig={"thinkingConfig": {"includeThoughts": True}})
    config = written(request, model="gemini-2.5-flash", reasoning_effort="medium")["generationConfig"]
    assert config == {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 8_192}}


def test_a_name_that_is_not_known_is_put_at_the_top() -> None:
    assert written(body(), serviceTier="flex") == {**HI, "serviceTier": "flex"}


@pytest.mark.parametrize(
    ("request_body", "param"),
    [
        (b"{}", "contents"),
        (b'{"contents":[]}', "contents"),
        (b'{"contents":"hi"}', "contents"),
        (b'{"contents":[{"parts":[{"text":1}]}]}', "contents[0].parts[0].text"),
        (b'{"contents":[{"parts":{"text":1}}]}', "contents[0].parts.text"),
        (b'{"contents":{"parts":[{"inline_data":{"mime_type":1}}]}}', "contents.parts[0].inline_data.mime_type"),
        (b'{"contents":[{"parts":[{"functionCall":{"args":"x"}}]}]}', "contents[0].parts[0].functionCall.args"),
        (b'{"contents":[{}],"generationConfig":{"maxOutputTokens":"x"}}', "generationConfig.maxOutputTokens"),
        (b'{"contents":[{}],"generation_config":{"top_p":"x"}}', "generation_config.top_p"),
        (b'{"contents":[{}],"generationConfig":{"candidateCount":0}}', "generationConfig.candidateCount"),
        (b'{"contents":[{}],"tools":[{"functionDeclarations":[{}]}]}', "tools[0].functionDeclarations[0].name"),
        (b'{"contents":[{"parts":[{"text":"\xff"}]}]}', None),
        (b"[" * 100_000, None),
        (b"hello", None),
    ],
)  # fmt: skip  # a table reads better packed
def test_a_malformed_request_is_refused_by_name(request_body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        GEMINI.read_request(request_body)
    assert refused.value.param == param


@pytest.mark.parametrize("spelt", ["camel", "snake"])
def test_the_envelope_is_the_same_in_both_spellings(spelt: str) -> None:
    config = {"candidateCount": 2, "maxOutputTokens": 7}
    fields = (
        {"generationConfig": config}
        if spelt == "camel"
        else {"generation_config": {"candidate_count": 2, "max_output_tokens": 7}}
    )
    envelope = GEMINI.read_request(body(**fields))
    assert (envelope.choices, envelope.max_output_tokens) == (2, 7)


def test_other_providers_signatures_do_not_go_to_google() -> None:
    """An earlier turn was served by another provider; this one is passed on in Google's own dialect."""
    foreign = sealed("c2ln", "anthropic")
    contents = [
        *HI["contents"],
        {"role": "model", "parts": [{"text": "hm", "thought": True}]},
        {"role": "model", "parts": [{"text": "", "thought": True, "thoughtSignature": foreign}]},
        {
            "role": "model",
            "parts": [
                {"text": "so", "thoughtSignature": foreign},
                {"functionCall": {"name": "f"}, "thoughtSignature": foreign},
                {"functionCall": {"name": "g"}, "thought_signature": foreign},
            ],
        },
        {"role": "model", "parts": [{"text": "own", "thoughtSignature": "b3du"}]},
    ]
    assert written(json.dumps({"contents": contents}).encode())["contents"] == [
        *HI["contents"],
        {"role": "model", "parts": [{"text": "hm", "thought": True}]},
        {
            "role": "model",
            "parts": [
                {"text": "so"},
                {"functionCall": {"name": "f"}, "thoughtSignature": WAIVER},
                {"functionCall": {"name": "g"}},
            ],
        },
        {"role": "model", "parts": [{"text": "own", "thoughtSignature": "b3du"}]},
    ]


# Answers.


@pytest.mark.parametrize(
    ("part", "bits", "text"),
    [
        ({"text": "a"}, TEXT, "a"),
        ({"text": ""}, 0, ""),
        ({"text": "", "thoughtSignature": "s"}, 0, ""),
        ({"text": "a", "thought": True}, REASONING, ""),
        ({"functionCall": {"name": "f"}}, TOOL, ""),
        ({"inlineData": {"mimeType": "image/png", "data": ""}}, OTHER, ""),
        ({"inlineData": {"mimeType": "audio/pcm", "data": ""}}, AUDIO, ""),
        ({"fileData": {"fileUri": "u"}}, OTHER, ""),
        ({"executableCode": {"code": "1"}}, OTHER, ""),
        ({"codeExecutionResult": {"outcome": "OUTCOME_OK"}}, OTHER, ""),
        ({"toolCall": {}}, OTHER, ""),
        ({"toolResponse": {}}, OTHER, ""),
    ],
)
def test_what_a_part_is(part: dict[str, Any], bits: int, text: str) -> None:
    (signal,) = GEMINI.scanner().feed(event(candidates=[candidate(part)], responseId="r"))
    assert (signal.beats, signal.text, signal.id) == (((0, bits, None),), text, "r")
    assert GEMINI.read_answer(json.dumps({"candidates": [candidate(part)]}).encode())[0].beats == signal.beats


def test_usage_counts_once_every_candidate_has_finished() -> None:
    usage = {
        "promptTokenCount": 4,
        "toolUsePromptTokenCount": 2,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 1,
    }
    scanner = GEMINI.scanner()
    signals = scanner.feed(
        event(candidates=[candidate({"text": "a"}), candidate({"text": "b"}, index=1)], usageMetadata=usage)
        + event(candidates=[candidate(finishReason="STOP")], usageMetadata=usage)
        + event(candidates=[candidate(index=1, finishReason="FINISH_REASON_UNSPECIFIED")], usageMetadata=usage)
        + event(candidates=[candidate(index=1, finishReason="MAX_TOKENS")])
        + event(usageMetadata=usage)
    )  # fmt: skip  # a sequence reads better packed
    assert [signal.usage is not None for signal in signals] == [False, False, False, False, True]
    counted = signals[-1].usage
    assert counted is not None
    assert (counted.input_tokens, counted.output_tokens, counted.reasoning_tokens) == (6, 4, 1)
    assert not any(signal.end for signal in signals)


def test_a_blocked_prompt_is_an_answer() -> None:
    blocked = {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 3},
    }
    (signal,) = GEMINI.scanner().feed(event(**blocked))
    assert signal.beats == ((0, 0, "PROHIBITED_CONTENT"),)
    assert signal.usage is not None
    assert signal.usage.output_tokens == 0
    whole = GEMINI.read_answer(json.dumps(blocked).encode())
    assert (whole[0].beats, whole[0].error, whole[-1].end) == (signal.beats, None, True)


@pytest.mark.parametrize(
    "data",
    [b"hello", b"{}", b"[]", b'{"candidates":5}', b'{"candidates":[{"content":{"parts":[{"text":5}]}}]}', b'{"a":"\xff"}'],
)  # fmt: skip  # a list reads better packed
def test_what_can_not_be_read_is_malformed(data: bytes) -> None:
    (signal,) = GEMINI.scanner().feed(b"data: " + data + b"\n\n")
    assert signal.malformed
    assert GEMINI.read_answer(data)[0].malformed
    assert GEMINI.read_answer(b" ")[0].malformed


@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: [error]])
def test_an_error_inside_a_200(wrap: Any) -> None:
    data = json.dumps(wrap({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}})).encode()
    for signal in (GEMINI.scanner().feed(b"data: " + data + b"\n\n")[0], GEMINI.read_answer(data)[0]):
        assert isinstance(signal.error, Overloaded)
        assert (signal.error.upstream_status, signal.error.kind) == (503, "UNAVAILABLE")


def test_half_an_event_is_a_cut_and_a_whole_one_an_event() -> None:
    scanner = GEMINI.scanner()
    assert scanner.feed(b'data: {"candidates":[{"finishRea') == []
    assert scanner.finish() == []
    scanner = GEMINI.scanner()
    assert scanner.feed(event(candidates=[candidate(finishReason="STOP")]).rstrip()) == []
    assert [signal.beats for signal in scanner.finish()] == [((0, 0, "STOP"),)]


# Edits.


def edited(*frames: bytes, **changes: Any) -> list[dict[str, Any]]:
    out = GEMINI.edit(b"".join(frame.replace(b"\r\n", b"\n") for frame in frames), Edit(**changes))
    return [json.loads(line.removeprefix("data: ")) for line in out.decode().split("\n\n") if line]


def test_id_and_model_are_changed_where_they_are_said() -> None:
    assert edited(event(responseId="a", modelVersion="m"), event(candidates=[]), id="x", model="y") == [
        {"responseId": "x", "modelVersion": "y"},
        {"candidates": []},
    ]


def test_nothing_but_the_text_is_left() -> None:
    frames = [
        event(candidates=[candidate({"text": "hm", "thought": True})], usageMetadata={"promptTokenCount": 1}),
        event(candidates=[candidate({"text": "one"}, {"executableCode": {}}, index=0)]),
        event(candidates=[candidate({"text": "two"})]),
        event(candidates=[candidate({"text": "x"}, finishReason="STOP")], usageMetadata={"promptTokenCount": 2}),
    ]  # fmt: skip  # a sequence reads better packed
    assert edited(*frames, text="new") == [
        {"candidates": [candidate({"text": "new"}, index=0)]},
        {
            "candidates": [candidate({"text": ""}, finishReason="STOP")],
            "usageMetadata": {"promptTokenCount": 2},
        },
    ]
    assert edited(*frames[:3], text="") == []


def test_a_repeated_finish_is_taken_out() -> None:
    repeated = event(candidates=[candidate({"text": ""}, finishReason="STOP")])
    assert edited(repeated, drop_finish=frozenset({0})) == []
    assert edited(repeated, drop_finish=frozenset({1})) == [json.loads(repeated[6:])]
    both = event(candidates=[candidate({"text": "a"}, finishReason="STOP"), candidate(index=1)])
    assert edited(both, drop_finish=frozenset({0})) == [
        {"candidates": [candidate({"text": "a"}), candidate(index=1)]}
    ]


def test_usage_alone_or_none_of_it() -> None:
    frame = event(candidates=[candidate({"text": "a"})], usageMetadata={"promptTokenCount": 1})
    assert edited(frame, usage="only") == [{"usageMetadata": {"promptTokenCount": 1}}]
    assert edited(frame, usage="drop") == [{"candidates": [candidate({"text": "a"})]}]
    assert edited(event(usageMetadata={"promptTokenCount": 1}), usage="drop") == []


def test_blank_lines_and_numbers_travel_through_an_edit() -> None:
    raw = b'data: {"responseId":"a","n":1234567890123456789012345678901}\n\n'
    assert GEMINI.edit(raw, Edit(id="b")) == raw.replace(b'"a"', b'"b"')
    assert GEMINI.edit(b": remark\n\n", Edit(id="b")) == b": remark\n\n"


# Errors.


def error(status: str | None = None, *details: dict[str, Any], **fields: Any) -> bytes:
    inner = {"message": "m", "status": status, "details": list(details), **fields}
    return json.dumps({"error": {name: value for name, value in inner.items() if value}}).encode()


def info(reason: str) -> dict[str, Any]:
    return {"@type": f"{RPC}ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def quota(id_: str, value: str = "10") -> dict[str, Any]:
    return {"@type": f"{RPC}QuotaFailure", "violations": [{"quotaId": id_, "quotaValue": value}]}


@pytest.mark.parametrize(
    ("status", "answer", "meaning"),
    [
        (400, error("INVALID_ARGUMENT"), RequestRefused),
        (400, error("INVALID_ARGUMENT", info("API_KEY_INVALID")), AuthRefused),
        (400, error("FAILED_PRECONDITION"), RequestRefused),
        (401, error("UNAUTHENTICATED"), AuthRefused),
        (403, error("PERMISSION_DENIED"), AuthRefused),
        (403, error("PERMISSION_DENIED", info("SERVICE_DISABLED")), AuthRefused),
        (403, error("PERMISSION_DENIED", info("BILLING_DISABLED")), QuotaExhausted),
        (404, error("NOT_FOUND"), ModelMissing),
        (413, b"", RequestRefused),
        (429, error("RESOURCE_EXHAUSTED"), RateLimited),
        (429, error("RESOURCE_EXHAUSTED", quota("GenerateRequestsPerMinutePerProjectPerModel")), RateLimited),
        (429, error("RESOURCE_EXHAUSTED", quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")), QuotaExhausted),
        (429, error("RESOURCE_EXHAUSTED", quota("GenerateRequestsPerMinutePerProject", "0")), QuotaExhausted),
        (429, error("RESOURCE_EXHAUSTED", info("RATE_LIMIT_EXCEEDED")), RateLimited),
        (429, b"<html>", RateLimited),
        (499, error("CANCELLED"), ServerFailed),
        (500, error("INTERNAL"), ServerFailed),
        (501, error("UNIMPLEMENTED"), ServerFailed),
        (503, error("UNAVAILABLE"), Overloaded),
        (503, b"", Overloaded),
        (504, error("DEADLINE_EXCEEDED"), ServerFailed),
        (520, b"\xff", ServerFailed),
        (503, b"[" + error("UNAVAILABLE") + b"]", Overloaded),
        (400, b'{"error":"text"}', RequestRefused),
    ],
)  # fmt: skip  # a table reads better packed
def test_what_an_error_means(status: int, answer: bytes, meaning: type[tree.ProviderError]) -> None:
    refused = GEMINI.refusal(status, answer)
    assert type(refused) is meaning
    assert (refused.upstream_status, refused.body) == (status, answer)
    if isinstance(refused, RequestRefused | ModelMissing):
        assert refused.status == status


def test_words_in_a_message_mean_nothing() -> None:
    said = error("INVALID_ARGUMENT", message="API key not valid; quota exceeded; input token count exceeds")
    assert type(GEMINI.refusal(400, said)) is RequestRefused


@pytest.mark.parametrize(
    ("delay", "seconds"), [("20s", 20.0), ("1.5s", 1.5), ("0s", 0.0), ("-3s", None), ("soon", None), (7, None)]
)  # fmt: skip  # a table reads better packed
def test_when_another_try_may_help(delay: Any, seconds: float | None) -> None:
    answer = error("RESOURCE_EXHAUSTED", {"@type": f"{RPC}RetryInfo", "retryDelay": delay})
    assert GEMINI.refusal(429, answer).retry_after_s == seconds


def test_the_field_at_fault() -> None:
    violation = {
        "@type": f"{RPC}BadRequest",
        "fieldViolations": [{"field": "contents[0]", "description": "d"}],
    }
    assert GEMINI.refusal(400, error("INVALID_ARGUMENT", violation)).param == "contents[0]"


# What we say ourselves.

WORDS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    413: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED",
    502: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip  # a table reads better packed


@pytest.mark.parametrize("status", WORDS)
def test_our_errors_in_googles_words(status: int) -> None:
    failed = tree.HoldfastError("m", status=status, param="contents[0]", retry_after_s=1.5)
    said = json.loads(GEMINI.error_body(failed, "req-1"))["error"]
    assert (said["code"], said["message"], said["status"]) == (status, "m", WORDS[status])
    kinds = [each["@type"].removeprefix(RPC) for each in said["details"]]
    assert kinds == ["ErrorInfo", "BadRequest", "RetryInfo"]
    assert said["details"][0]["metadata"] == {"request_id": "req-1"}
    assert said["details"][2]["retryDelay"] == "1.5s"
    assert GEMINI.error_frame(failed, "req-1") == b"data: " + GEMINI.error_body(failed, "req-1") + b"\n\n"


def test_all_attempts_are_told() -> None:
    failed = TargetsFailed("none", failures=[("a/b", RateLimited("slow", upstream_status=429))], status=429)
    said = json.loads(GEMINI.error_body(failed, "r"))["error"]
    assert said["details"][-1]["stackEntries"] == ["a/b: rate_limited: slow"]


def test_a_remark_is_a_mere_sign_of_life() -> None:
    """Google's SDKs take every line but `data:` for JSON."""
    assert GEMINI.comment("cost 1").strip() == b""
    assert GEMINI.scanner().feed(GEMINI.comment("cost 1")) == []


@given(st.text(max_size=20))
def test_what_is_sealed_is_base64_and_opens_again(proof: str) -> None:
    opened = proof_of(sealed(proof, "anthropic"))
    assert opened.signed_by == "anthropic"
    if "\ud800" not in proof:
        assert opened.value == proof.removeprefix("~")
