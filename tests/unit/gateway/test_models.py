"""Lists of models in three shapes, and page by page in the two that page."""

from __future__ import annotations

import pytest
from anthropic.types import ModelInfo
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Model

from holdfast.engine.route import ModelEntry
from holdfast.errors import InvalidRequest, NotFound
from holdfast.gateway.models import list_models, one_model

ENTRIES = [ModelEntry("chat", "holdfast"), ModelEntry("openai/gpt-5-mini", "openai"), ModelEntry("x/y", "x")]


def test_openai_reads_its_list():
    said = list_models("openai_chat", ENTRIES, b"limit=1")
    models = [Model.model_validate(each, strict=True) for each in said["data"]]
    assert [model.id for model in models] == ["chat", "openai/gpt-5-mini", "x/y"]


def test_anthropic_reads_its_list():
    said = list_models("anthropic", ENTRIES, b"limit=1000")
    models = [ModelInfo.model_validate(each) for each in said["data"]]
    assert [model.id for model in models] == ["chat", "openai/gpt-5-mini", "x/y"]
    assert models[1].max_tokens
    assert models[1].max_input_tokens
    assert models[2].max_tokens is None
    assert (said["has_more"], said["first_id"], said["last_id"]) == (False, "chat", "x/y")


def test_googles_list():
    said = list_models("gemini", ENTRIES, b"")
    models = said["models"]
    assert [model["name"] for model in models] == ["models/chat", "models/openai/gpt-5-mini", "models/x/y"]
    assert models[1]["outputTokenLimit"] > 0
    assert "nextPageToken" not in said


@given(count=st.integers(0, 30), size=st.integers(1, 12))
def test_pages_give_every_model_once_and_in_order(count, size):
    entries = [ModelEntry(f"m{number}", "x") for number in range(count)]
    names: list[str] = []
    query = f"limit={size}"
    while True:
        page = list_models("anthropic", entries, query.encode())
        names += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            break
        query = f"limit={size}&after_id={page['last_id']}"
    assert names == [entry.id for entry in entries]
    names, token = [], "0"
    while token:
        page = list_models("gemini", entries, f"pageSize={size}&pageToken={token}".encode())
        names += [each["name"].removeprefix("models/") for each in page["models"]]
        token = page.get("nextPageToken", "")
    assert names == [entry.id for entry in entries]


def test_a_page_before_another():
    entries = [ModelEntry(f"m{number}", "x") for number in range(5)]
    page = list_models("anthropic", entries, b"limit=2&before_id=m4")
    assert [each["id"] for each in page["data"]] == ["m2", "m3"]
    assert page["has_more"]
    first = list_models("anthropic", entries, b"limit=2&before_id=m2")
    assert [each["id"] for each in first["data"]] == ["m0", "m1"]
    assert not first["has_more"]


@pytest.mark.parametrize("query", [b"limit=0", b"limit=-1", b"limit=1001", b"limit=ten", b"limit=9999999999"])
def test_a_limit_that_is_none(query):
    with pytest.raises(InvalidRequest) as caught:
        list_models("anthropic", ENTRIES, query)
    assert caught.value.param == "limit"


def test_a_page_that_is_none():
    with pytest.raises(NotFound):
        list_models("anthropic", ENTRIES, b"after_id=nobody")
    with pytest.raises(InvalidRequest):
        list_models("gemini", ENTRIES, b"pageToken=nonsense")


@pytest.mark.parametrize(
    ("dialect", "field"), [("openai_chat", "id"), ("anthropic", "id"), ("gemini", "name")]
)
def test_one_model(dialect, field):
    said = one_model(dialect, ENTRIES[1])
    assert said[field].removeprefix("models/") == "openai/gpt-5-mini"
