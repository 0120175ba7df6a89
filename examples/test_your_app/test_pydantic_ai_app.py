"""An agent of pydantic-ai: structured output, a wrong answer that is asked for again, and a second model to fall back on.

pip install 'holdfast[chaos]' 'pydantic-ai-slim[openai]' pytest && pytest test_pydantic_ai_app.py
"""

import asyncio

import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import FallbackExceptionGroup, UnexpectedModelBehavior
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class City(BaseModel):
    name: str
    population: int


async def describe(city: str, base_url: str) -> City:
    """The app: facts about a city, from the first model that has them."""
    async with AsyncOpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
        provider = OpenAIProvider(openai_client=client)
        models = [OpenAIChatModel(name, provider=provider) for name in ("first", "second")]
        run = await Agent(FallbackModel(*models), output_type=City).run(f"Tell me about {city}")
        return run.output


def lisbon(chaosllm_server) -> City:
    return asyncio.run(describe("Lisbon", chaosllm_server.base_url))


def test_the_answer_follows_the_schema(chaosllm_server):
    assert isinstance(lisbon(chaosllm_server), City)


@pytest.mark.chaosllm(script={"first": "overloaded", "second": "ok"})
def test_the_second_model_answers_when_the_first_is_overloaded(chaosllm_server):
    assert isinstance(lisbon(chaosllm_server), City)
    assert [(a.model, a.status) for a in chaosllm_server.journal()] == [("first", 529), ("second", 200)]


@pytest.mark.chaosllm(script={"first": "tools=0 text='no city at all'; ok"})
def test_an_answer_that_is_no_city_is_asked_for_again(chaosllm_server):
    assert isinstance(lisbon(chaosllm_server), City)
    assert [a.model for a in chaosllm_server.journal()] == ["first", "first"]


@pytest.mark.chaosllm(script="malformed")
def test_an_answer_that_is_no_json_is_an_error(chaosllm_server):
    with pytest.raises((UnexpectedModelBehavior, FallbackExceptionGroup, ValueError)):
        lisbon(chaosllm_server)
