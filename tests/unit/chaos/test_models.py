"""Models, in each provider's words: lists, pages, and one by its id."""

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors, types

from holdfast.chaos import ChaosConfig, run_chaos
from holdfast.chaos.wire.routes import OPENAI_CHAT

NAMES = ("a", "b", "maker/c", "ft:d:org::1", "e")
VERSION = {"anthropic-version": "2023-06-01"}
GOOGLE = {"x-goog-api-key": "k"}
BEARER = {"authorization": "Bearer k"}


@pytest.fixture(scope="module")
def chaos():
    with run_chaos(ChaosConfig(models=NAMES, api_keys=("k",))) as chaos:
        yield chaos


@pytest.fixture(scope="module")
def anyone():
    with run_chaos() as chaos:
        yield chaos


def get(chaos, path, **headers):
    return httpx2.get(chaos.url + path, headers=headers)


# By the official SDKs.


def test_openai(chaos):
    with openai.OpenAI(base_url=chaos.base_url, api_key="k", max_retries=0) as client:
        assert tuple(model.id for model in client.models.list()) == NAMES
        for name in NAMES:
            assert client.models.retrieve(name).model_dump(exclude_unset=True) == {
                "id": name, "object": "model", "created": 1_700_000_000, "owned_by": "chaos",
            }  # fmt: skip  # as the body says it
        with pytest.raises(openai.NotFoundError) as raised:
            client.models.retrieve("z")
        assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
        assert "'z'" in raised.value.message


def test_azure(chaos):
    with openai.AzureOpenAI(
        azure_endpoint=chaos.url, api_version="2024-10-21", api_key="k", max_retries=0
    ) as client:
        assert tuple(model.id for model in client.models.list()) == NAMES
        assert client.models.retrieve("a").id == "a"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("z")


def test_anthropic(chaos):
    with anthropic.Anthropic(base_url=chaos.url, api_key="k", max_retries=0) as client:
        assert tuple(model.id for model in client.models.list()) == NAMES
        assert tuple(model.id for model in client.models.list(limit=2)) == NAMES, (
            "the SDK asks for the other pages"
        )
        for name in NAMES:
            model = client.models.retrieve(name)
            assert (model.id, model.type, model.created_at.year) == (name, "model", 2025)
        with pytest.raises(anthropic.NotFoundError) as raised:
            client.models.retrieve("z")
        assert raised.value.body["error"] == {"type": "not_found_error", "message": "model: z"}


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
def test_gemini(chaos, version):
    options = types.HttpOptions(base_url=chaos.url, api_version=version)
    with genai.Client(api_key="k", http_options=options) as client:
        assert [model.name for model in client.models.list()] == [f"models/{name}" for name in NAMES]
        paged = client.models.list(config={"page_size": 2})
        assert (len(paged.page), len(list(paged))) == (2, len(NAMES)), "the SDK asks for the other pages"
        model = client.models.get(model="a")
        assert (model.name, model.display_name) == ("models/a", "a")
        assert "embedContent" in model.supported_actions
        with pytest.raises(errors.ClientError) as raised:
            client.models.get(model="z")
    assert (raised.value.code, raised.value.status) == (404, "NOT_FOUND")
    assert "models/z" in raised.value.message


# Shapes.


def test_openrouter(chaos):
    rows = get(chaos, "/api/v1/models", **BEARER).json()
    assert set(rows) == {"data"}
    assert [row["id"] for row in rows["data"]] == list(NAMES)
    row = rows["data"][2]
    assert row["context_length"] == row["top_provider"]["context_length"] == 1_048_576
    assert row["pricing"] == {"prompt": "0.000001", "completion": "0.000001", "request": "0", "image": "0"}
    assert get(chaos, "/api/v1/models/maker/c", **BEARER).json() == {"data": row}


def test_openrouters_price_is_what_an_answer_costs(anyone):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    usage = httpx2.post(anyone.url + "/api/v1/chat/completions", json=body).json()["usage"]
    pricing = get(anyone, "/api/v1/models/m").json()["data"]["pricing"]
    assert usage["cost"] == pytest.approx(float(pricing["prompt"]) * usage["total_tokens"])


def test_deepseek(chaos):
    rows = get(chaos, "/models", **BEARER).json()
    assert rows == {
        "object": "list",
        "data": [{"id": name, "object": "model", "owned_by": "chaos"} for name in NAMES],
    }
    assert get(chaos, "/models/b", **BEARER).json() == rows["data"][1]


# Which wire a path has.


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/models", BEARER),
        ("/v1/models", {**VERSION, "x-api-key": "k"}),
        ("/v1/models", GOOGLE),
        ("/v1beta/models", GOOGLE),
        ("/v1alpha/models", GOOGLE),
        ("/openai/v1/models", {"api-key": "k"}),
        ("/openai/v1/models", BEARER),
        ("/models", BEARER),
        ("/api/v1/models", BEARER),
    ],
)
def test_one_by_its_id(chaos, path, headers):
    assert get(chaos, path, **headers).status_code == 200
    assert get(chaos, f"{path}/a", **headers).status_code == 200
    unknown = get(chaos, f"{path}/z", **headers)
    assert unknown.status_code == 404
    assert "z" in str(unknown.json()["error"]["message"])
    assert get(chaos, f"{path}/a", authorization="Bearer wrong").status_code in (400, 401)
    assert httpx2.head(f"{chaos.url}{path}/a", headers=headers).content == b""
    assert httpx2.post(f"{chaos.url}{path}/a", headers=headers).headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/models/", BEARER),
        ("/v1beta/models/", GOOGLE),
        ("/openai/models", {"api-key": "k"}),
        ("/openai/models/a", {"api-key": "k"}),
        ("/v1beta/models/a:predict", GOOGLE),
        ("/v1/models/a:predict", GOOGLE),
    ],
)
def test_what_no_provider_has(chaos, path, headers):
    assert get(chaos, path, **headers).status_code == 404
    assert httpx2.post(chaos.url + path, headers=headers).status_code == 404, "not 405: nothing is there"


def test_an_encoded_id(chaos):
    assert get(chaos, "/v1/models/maker%2Fc", **BEARER).json()["id"] == "maker/c"


# Which are known.


def test_where_no_models_are_named_any_is_served(anyone):
    assert [row["id"] for row in get(anyone, "/v1/models").json()["data"]] == ["chaos-1"]
    assert get(anyone, "/v1/models/whatever").json()["id"] == "whatever"


def test_where_none_is_wanted_none_is_known():
    with run_chaos(ChaosConfig(models=())) as chaos:
        assert get(chaos, "/v1/models").json()["data"] == []
        assert get(chaos, "/v1/models", **VERSION).json() == {
            "data": [], "has_more": False, "first_id": None, "last_id": None,
        }  # fmt: skip  # as the body says it
        assert get(chaos, "/v1beta/models").json() == {"models": []}
        assert get(chaos, "/v1/models/chaos-1").status_code == 404


def test_a_scripts_pattern_makes_no_model():
    with run_chaos(ChaosConfig(models=("a",), scripts={"z*": "ok"})) as chaos:
        assert get(chaos, "/v1/models/z*").status_code == get(chaos, "/v1/models/z1").status_code == 404


# Pages.


def page(chaos, query):
    return get(chaos, f"/v1/models?{query}", **VERSION, **{"x-api-key": "k"})


@pytest.mark.parametrize(
    ("query", "names", "more"),
    [
        ("", NAMES, False),
        ("limit=5", NAMES, False),
        ("limit=2", ("a", "b"), True),
        ("limit=2&after_id=b", ("maker/c", "ft:d:org::1"), True),
        ("limit=2&after_id=ft:d:org::1", ("e",), False),
        ("after_id=e", (), False),
        ("before_id=b", ("a",), False),
        ("limit=1&before_id=maker/c", ("b",), True),
        ("before_id=a", (), False),
    ],
)
def test_anthropics_pages(chaos, query, names, more):
    body = page(chaos, query).json()
    assert tuple(row["id"] for row in body["data"]) == names
    assert body["has_more"] == more
    assert (body["first_id"], body["last_id"]) == ((names[0], names[-1]) if names else (None, None))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit: Input should be greater than or equal to 1"),
        ("limit=1001", "limit: Input should be less than or equal to 1000"),
        ("limit=x", "limit: Input should be a valid integer"),
        ("after_id=z", "after_id: "),
        ("before_id=z", "before_id: "),
        ("before_id=a&after_id=a", "after_id: "),
    ],
)
def test_pages_that_anthropic_refuses(chaos, query, message):
    answer = page(chaos, query)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert answer.json()["error"]["message"].startswith(message)


def test_anthropics_own_page_size():
    with run_chaos(ChaosConfig(models=tuple(f"m{i}" for i in range(21)))) as chaos:
        body = get(chaos, "/v1/models", **VERSION).json()
    assert (len(body["data"]), body["has_more"]) == (20, True)


def test_geminis_pages(chaos):
    found, token = [], ""
    while token is not None:
        body = get(chaos, f"/v1beta/models?pageSize=2&pageToken={token}", **GOOGLE).json()
        found.append([row["name"] for row in body["models"]])
        token = body.get("nextPageToken")
    assert found == [["models/a", "models/b"], ["models/maker/c", "models/ft:d:org::1"], ["models/e"]]


def test_geminis_own_page_size():
    with run_chaos(ChaosConfig(models=tuple(f"m{i}" for i in range(1001)))) as chaos:
        sizes = {
            size: len(get(chaos, f"/v1beta/models?pageSize={size}").json()["models"])
            for size in ("", 0, 5000)
        }
    assert sizes == {"": 50, 0: 50, 5000: 1000}


@pytest.mark.parametrize(
    "query", ["pageSize=-1", "pageSize=x", "pageToken=x", "pageToken=page-5", "pageToken=page-x"]
)
def test_pages_that_gemini_refuses(chaos, query):
    answer = get(chaos, f"/v1beta/models?{query}", **GOOGLE)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_openai_has_no_pages(chaos):
    answer = get(chaos, "/v1/models?limit=1&pageSize=1", **BEARER).json()
    assert len(answer["data"]) == len(NAMES)
    assert OPENAI_CHAT.model("a") == b'{"id":"a","object":"model","created":1700000000,"owned_by":"chaos"}'
