"""Embeddings of all providers that have them: official SDKs and recordings judge, and every plain fault fits."""

import base64
import json
import math
import struct
from itertools import islice
from pathlib import Path

import httpx2
import openai
import pytest
from google import genai
from google.genai import errors, types
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.chaos.raw import Seen, arrived, ask, is_silent, receive, send

from holdfast.chaos import FAULTS, ChaosConfig, run_chaos
from holdfast.chaos.answer import compose
from holdfast.chaos.chat import healthy
from holdfast.chaos.draws import Draw
from holdfast.chaos.plan import Context
from holdfast.chaos.quota import Quota
from holdfast.chaos.settings import AnswerSettings
from holdfast.chaos.wire.routes import find
from holdfast.chaos.wire.vectors import as_base64, vector

HERE = Path(__file__).parent / "recordings"
RECORDED = json.loads((HERE / "beside_chat.json").read_text())
KINDS = ("openai_embeddings", "gemini_embeddings")
DEPLOYMENT = "/openai/deployments/my%20ada/embeddings?api-version=2024-10-21"
PATHS = {
    "/v1/embeddings": {"authorization": "Bearer k"},
    "/api/v1/embeddings": {"authorization": "Bearer k"},
    "/openai/v1/embeddings": {"api-key": "k"},
    DEPLOYMENT: {"api-key": "k"},
}
SINGLE = "/v1beta/models/g:embedContent"
BATCH = "/v1beta/models/g:batchEmbedContents"
GOOGLE = {"x-goog-api-key": "k"}


@pytest.fixture(scope="module")
def server():
    with run_chaos(ChaosConfig(api_keys=("k",))) as chaos:
        yield chaos


@pytest.fixture
def chaos(server):
    server.reset()
    return server


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def google(server):
    with genai.Client(api_key="k", http_options=types.HttpOptions(base_url=server.url)) as client:
        yield client


def last(chaos):
    return chaos.wait_for(lambda entries: entries and entries[-1].end)[-1]


def post(chaos, path, **body):
    headers = PATHS.get(path, GOOGLE)
    return httpx2.post(chaos.url + path, json=body, headers=headers)


def content(*texts):
    return {"parts": [{"text": text} for text in texts]}


def floats(encoded):
    raw = base64.b64decode(encoded)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


# Vectors.


@given(st.text(), st.text(), st.integers(1, 300))
def test_a_vector_has_its_length(text, model, dimensions):
    values = vector(text, model, dimensions)
    assert len(values) == dimensions
    assert abs(math.hypot(*values) - 1) < 1e-6
    assert values == vector(text, model, dimensions)
    assert floats(as_base64(values)) == pytest.approx(values, abs=1e-7)


def test_a_vector_is_of_text_and_model():
    vectors = [vector(text, model, 64) for text in ("a", "b", "", "é") for model in ("m", "n")]
    for i, one in enumerate(vectors):
        for other in vectors[:i]:
            assert abs(math.fsum(map(float.__mul__, one, other))) < 0.6, "far from the same direction"


def test_a_shorter_vector_is_the_start_of_a_longer_one():
    longer, shorter = vector("a", "m", 512), vector("a", "m", 64)
    length = math.hypot(*longer[:64])
    assert shorter == pytest.approx([value / length for value in longer[:64]], abs=1e-6)


def test_a_vector_is_known():
    """In any process, on any machine."""
    assert vector("hello", "m", 4) == [0.484999346, 0.425481596, -0.762545149, -0.047601892]


# OpenAI's format.


def test_texts(client, chaos):
    answer = client.embeddings.create(model="text-embedding-3-small", input=["hello", "world", "hello"])
    one, two, three = (row.embedding for row in answer.data)
    assert [row.index for row in answer.data] == [0, 1, 2]
    assert (len(one), one, one != two) == (1536, three, True)
    assert abs(math.hypot(*one) - 1) < 1e-5
    assert answer.model == "text-embedding-3-small"
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (6, 6)
    entry = last(chaos)
    assert (entry.wire, entry.operation, entry.model) == ("openai_embeddings", "embed", answer.model)
    assert (entry.usage.prompt_tokens, entry.usage.completion_tokens, entry.tokens) == (6, 0, 0)
    alone = client.embeddings.create(model="text-embedding-3-small", input="hello")
    assert alone.data[0].embedding == one


def test_both_encodings_say_the_same(chaos):
    told = {
        name: post(chaos, "/v1/embeddings", model="m", input="a", encoding_format=name).json()["data"][0]
        for name in ("float", "base64")
    }
    assert all(isinstance(value, float) for value in told["float"]["embedding"])
    assert floats(told["base64"]["embedding"]) == pytest.approx(told["float"]["embedding"], abs=1e-7)


@pytest.mark.parametrize(
    ("model", "wanted", "size"),
    [
        ("m", {}, 1536),
        ("text-embedding-ada-002", {}, 1536),
        ("text-embedding-3-large", {}, 3072),
        ("openai/text-embedding-3-large", {}, 3072),
        ("m", {"dimensions": 3072}, 3072),
        ("text-embedding-3-small", {"dimensions": 256}, 256),
        ("m", {"dimensions": 1}, 1),
    ],
)
def test_dimensions(client, chaos, model, wanted, size):
    answer = client.embeddings.create(model=model, input="a", **wanted)
    assert len(answer.data[0].embedding) == size


def test_tokens(client, chaos):
    one = client.embeddings.create(model="m", input=[1, 2, 3])
    several = client.embeddings.create(model="m", input=[[1, 2, 3], [4]])
    assert one.usage.prompt_tokens == 3
    assert several.usage.prompt_tokens == 4
    assert one.data[0].embedding == several.data[0].embedding != several.data[1].embedding


def test_every_path_gives_the_same_vectors(chaos):
    found = []
    for path in PATHS:
        model = "my ada"
        answer = post(chaos, path, model=model, input="hello").json()
        assert answer["model"] == last(chaos).model == model
        found.append(answer["data"])
    assert all(data == found[0] for data in found)


def test_openrouter_says_what_it_cost(chaos):
    answer = post(chaos, "/api/v1/embeddings", model="m", input="hello").json()
    assert answer["usage"] == {"prompt_tokens": 2, "total_tokens": 2, "cost": 2e-6}
    assert answer["id"].startswith("gen-emb-")


def test_azures_own_client(chaos):
    with openai.AzureOpenAI(azure_endpoint=chaos.url, api_version="2024-10-21", api_key="k") as client:
        raw = client.embeddings.with_raw_response.create(model="ada", input="hello")
        assert "apim-request-id" in raw.headers
        assert len(raw.parse().data[0].embedding) == 1536
        assert last(chaos).path == "/openai/deployments/ada/embeddings"


@pytest.mark.parametrize(
    ("body", "message", "param", "code"),
    [
        ({"model": "m"}, "Missing required parameter: 'input'.", "input", "missing_required_parameter"),
        ({"input": "a"}, "Missing required parameter: 'model'.", "model", "missing_required_parameter"),
        *(
            ({"model": "m", "input": wrong}, "'$.input' is invalid.", None, None)
            for wrong in (
                "", [], [""], ["a", ""], None, 5, {"a": 1}, ["a", 1], [1, "a"], [1, [2]], [[]], [[1], []],
                [[1], "a"], [-1], [1.5], [True], [[[1]]], ["a"] * 2049,
            )
        ),
        ({"model": "m", "input": "a", "dimensions": 0}, "Invalid value for 'dimensions'", "dimensions", "invalid_value"),
        ({"model": "m", "input": "a", "dimensions": 3073}, "Invalid value for 'dimensions' = 3073.", None, None),
        ({"model": "text-embedding-3-small", "input": "a", "dimensions": 1537}, "Invalid value for", None, None),
        ({"model": "text-embedding-ada-002", "input": "a", "dimensions": 8}, "This model does not support", None, None),
        ({"model": "m", "input": "a", "encoding_format": "x"}, "Invalid value", "encoding_format", "invalid_value"),
        ({"model": "m", "input": "a" * 4 * 8193}, "This model's maximum context length is 8192 tokens", None, None),
        ({"model": "m", "input": ["a" * 4 * 8000] * 38}, "Requested 304000 tokens", None, "max_tokens_per_request"),
    ],
)  # fmt: skip  # rows side by side
def test_what_openai_refuses(chaos, body, message, param, code):
    answer = post(chaos, "/v1/embeddings", **body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["message"].startswith(message)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


def test_the_most_that_openai_takes(chaos):
    answer = post(chaos, "/v1/embeddings", model="m", input=["a"] * 2048, dimensions=2).json()
    assert len(answer["data"]) == answer["usage"]["prompt_tokens"] == 2048


def test_a_request_that_is_no_json(chaos):
    seen = ask(chaos.port, b"{", path="/v1/embeddings", authorization="Bearer k")
    assert (seen.status, json.loads(seen.body)["error"]["type"]) == (400, "invalid_request_error")


# Gemini's.


@pytest.mark.parametrize("size", [None, 768, 1])
def test_gemini(google, chaos, size):
    answer = google.models.embed_content(
        model="gemini-embedding-001",
        contents=["hello", "world"],
        config=types.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=size),
    )
    one, two = (embedding.values for embedding in answer.embeddings)
    assert (len(one), len(two)) == (size or 3072,) * 2
    assert size == 1 or one != two
    assert abs(math.hypot(*one) - 1) < 1e-6
    entry = last(chaos)
    assert (entry.wire, entry.operation, entry.model) == ("gemini", "embed", "gemini-embedding-001")
    assert (entry.path.rpartition(":")[2], entry.usage.prompt_tokens) == ("batchEmbedContents", 4)


def test_gemini_says_what_was_counted(google, chaos):
    answer = google.models.embed_content(model="g", contents="hello")
    assert answer.usage_metadata is not None
    assert json.loads(post(chaos, SINGLE, content=content("hello")).text)["usageMetadata"] == {
        "promptTokenCount": 2,
        "promptTokenDetails": [{"modality": "TEXT", "tokenCount": 2}],
    }


def test_one_and_several_say_the_same(chaos):
    one = post(
        chaos, SINGLE, content=content("hel", "lo"), taskType="CLUSTERING", outputDimensionality=8
    ).json()
    several = post(
        chaos,
        BATCH,
        requests=[
            {"model": "models/g", "content": content("hello"), "output_dimensionality": 8},
            {"model": "models/g", "content": content("hello"), "outputDimensionality": 4},
        ],
    ).json()["embeddings"]
    assert one["embedding"] == several[0] == {"values": vector("hello", "g", 8)}
    assert several[1] == {"values": vector("hello", "g", 4)}


def test_what_is_no_text_counts_too(chaos):
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    other = {"inlineData": {"mimeType": "image/png", "data": "AAAB"}}
    file = {"fileData": {"fileUri": "files/a", "mimeType": "application/pdf"}}
    seen = [post(chaos, SINGLE, content={"parts": [part]}).json() for part in (image, other, file)]
    assert [one["usageMetadata"]["promptTokenCount"] for one in seen] == [85] * 3
    assert len({str(one["embedding"]) for one in seen}) == 3


REQUEST = {"model": "models/g", "content": content("a")}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (SINGLE, {}, "* EmbedContentRequest.content: content is not specified"),
        (SINGLE, {"content": {"parts": []}}, "* EmbedContentRequest.content: text content is empty"),
        (SINGLE, {"content": content("")}, "* EmbedContentRequest.content: text content is empty"),
        (SINGLE, {"content": {"parts": [{}]}}, "* EmbedContentRequest.content.parts[0].data: required oneof"),
        (SINGLE, {"content": {"parts": [{"text": 5}]}}, "Invalid value at"),
        (SINGLE, {"content": {"parts": [{"inlineData": {"data": "!"}}]}}, "Invalid value at"),
        (SINGLE, {"content": "a"}, "Invalid value at 'content' (message)"),
        (SINGLE, {"contents": [content("a")]}, 'Invalid JSON payload received. Unknown name "contents"'),
        (SINGLE, {"requests": [REQUEST]}, 'Invalid JSON payload received. Unknown name "requests"'),
        (SINGLE, {"content": content("a"), "model": "models/h"}, "* EmbedContentRequest.model: "),
        (SINGLE, {"content": content("a"), "taskType": "NONE"}, "Invalid value at 'task_type'"),
        (SINGLE, {"content": content("a"), "taskType": ["a"]}, "Invalid value at 'task_type'"),
        (SINGLE, {"content": content("a"), "outputDimensionality": 3073}, "* EmbedContentRequest.output_dimension"),
        (SINGLE, {"content": content("a"), "outputDimensionality": -1}, "* EmbedContentRequest.output_dimension"),
        (SINGLE, {"content": content("a"), "outputDimensionality": "x"}, "Invalid value at 'output_dimensionality'"),
        (BATCH, {}, "* BatchEmbedContentsRequest.requests: requests is not specified"),
        (BATCH, {"requests": []}, "* BatchEmbedContentsRequest.requests: requests is not specified"),
        (BATCH, {"requests": [REQUEST] * 101}, "* BatchEmbedContentsRequest.requests: at most 100"),
        (BATCH, {"requests": [5]}, "Invalid value at 'requests[0]' (message)"),
        (BATCH, {"requests": [REQUEST, {"content": content("a")}]}, "* BatchEmbedContentsRequest.requests[1].model: "),
        (BATCH, {"content": content("a")}, 'Invalid JSON payload received. Unknown name "content"'),
    ],
)  # fmt: skip  # rows side by side
def test_what_gemini_refuses(chaos, path, body, message):
    answer = post(chaos, path, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["message"].startswith(message)


def test_an_older_model_has_fewer_dimensions(google, chaos):
    answer = google.models.embed_content(model="text-embedding-004", contents="a")
    assert len(answer.embeddings[0].values) == 768
    with pytest.raises(errors.ClientError) as raised:
        google.models.embed_content(
            model="text-embedding-004", contents="a", config={"output_dimensionality": 769}
        )
    assert raised.value.code == 400


# Recordings.


def paths(value, path, found):
    if isinstance(value, dict):
        for name, inner in value.items():
            where = f"{path}.{name}" if path else name
            found.add(where)
            paths(inner, where, found)
    elif isinstance(value, list):
        for inner in value:
            paths(inner, f"{path}[]", found)
    return found


@pytest.mark.parametrize(
    ("kind", "recorded"), [(kind, request) for kind in KINDS for request in RECORDED[kind]["requests"]]
)
def test_what_was_accepted_is_accepted_and_answered_alike(chaos, kind, recorded):
    headers = {"authorization": "Bearer k", **GOOGLE}
    answer = httpx2.post(chaos.url + recorded["path"], json=recorded["request"], headers=headers)
    assert answer.status_code == 200, answer.text
    found = paths(answer.json(), "", set())
    assert set(RECORDED[kind]["always"]) <= found <= set(RECORDED[kind]["ever"])


# Scripts and faults.


def test_a_script_counts_embeddings_apart(chaos, client):
    chaos.script("m", "503; ok")
    message = [{"role": "user", "content": "hi"}]
    for ask_once in (
        lambda: client.embeddings.create(model="m", input="a"),
        lambda: client.chat.completions.create(model="m", messages=message),
    ):
        with pytest.raises(openai.InternalServerError):
            ask_once()
        assert ask_once().model == "m"
    chaos.script("m", "ok")


def test_a_marker_in_the_last_text(chaos, client):
    with pytest.raises(openai.RateLimitError) as raised:
        client.embeddings.create(model="marked", input=["b", "a [[chaos: rate_limit]]"])
    assert raised.value.response.headers["x-ratelimit-remaining-requests"] == "0"


def embedded(port: int, path: str) -> Seen:
    body = {"content": content("a")} if path == SINGLE else {"model": "g", "input": "a"}
    headers = GOOGLE if path == SINGLE else {"authorization": "Bearer k"}
    with send(port, json.dumps(body).encode(), path=path, **headers) as sock:
        return receive(sock)


@pytest.mark.parametrize("path", ["/v1/embeddings", SINGLE])
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.plain])
def test_every_plain_fault_can_spoil_one(name, path):
    body = {"content": content("a")} if path == SINGLE else {"model": "g", "input": "a"}
    request = arrived(path, json.dumps(body).encode())
    found = find(request)
    asked = found.wire.read(request, found.place)
    draw = Draw(0, name, 1)
    answer = compose(asked, AnswerSettings(), 5, draw, found.wire, found.place.operation)
    context = Context(found.wire, asked, answer, draw, "req_1")
    fault = FAULTS[name]
    reply = fault.apply(healthy(context, Quota()), fault.settings(), context)
    assert all(isinstance(part.data, bytes) for part in islice(reply.parts, 50))


SPOILT = (
    "cut", "empty", "error_in_200", "malformed", "no_usage", "reset", "status", "truncate", "wrong_type", "bad_utf8",
)  # fmt: skip  # a list reads better packed
HARMLESS = ("segments", "slow=0", "huge=0.2", "no_finish")


@pytest.mark.parametrize("path", ["/v1/embeddings", SINGLE])
@pytest.mark.parametrize("script", [*SPOILT, *HARMLESS])
def test_faults_on_the_socket(chaos, script, path):
    chaos.script("g", f"ok; {script}")
    healthy, seen = (embedded(chaos.port, path) for _ in range(2))
    entry = last(chaos)
    assert (entry.faults, entry.skipped, entry.operation) == ([script.partition("=")[0]], [], "embed")
    spoilt = seen.end != "complete" or seen.status != 200 or _value(seen.body) != _value(healthy.body)
    assert spoilt == (script in SPOILT)


@pytest.mark.parametrize("path", ["/v1/embeddings", SINGLE])
@pytest.mark.parametrize("script", ["cut", "cut=clean", "truncate=9"])
def test_a_cut_body_is_a_part_of_the_whole(chaos, path, script):
    chaos.script("g", f"ok; {script}")
    healthy, seen = (embedded(chaos.port, path) for _ in range(2))
    assert healthy.body.startswith(seen.body)
    assert 0 < len(seen.body) < len(healthy.body)
    assert last(chaos).usage.prompt_tokens == 1


@pytest.mark.parametrize("path", ["/v1/embeddings", SINGLE])
def test_a_stall_stops_in_the_body(chaos, path):
    chaos.script("g", "ok; stall seconds=0; stall")
    whole, late = (embedded(chaos.port, path) for _ in range(2))
    assert late.body == whole.body
    body = json.dumps({"content": content("a")} if path == SINGLE else {"model": "g", "input": "a"}).encode()
    with send(chaos.port, body, path=path, **GOOGLE, authorization="Bearer k") as sock:
        size = len(whole.data) - (len(whole.body) + 1) // 2
        data = b""
        while len(data) < size:
            data += sock.recv(65536)
        assert len(data) == size
        assert is_silent(sock)
    assert last(chaos).end == "client_left"


def test_usage_missing(chaos):
    chaos.script("g", "no_usage")
    assert set(json.loads(embedded(chaos.port, "/v1/embeddings").body)) == {"object", "data", "model"}
    assert set(json.loads(embedded(chaos.port, SINGLE).body)) == {"embedding"}


def _value(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None
