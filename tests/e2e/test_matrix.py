"""Any of three SDKs reaches any of six providers: plain and streamed, over real sockets, and nothing is lost on the way."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import document_of, run_gateway
from tests.support.sdks import IMAGE, SCHEMA, SDKS, Sdk, Turn, refused
from tests.support.six import SIX, six_providers

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.gateway import Running

SCRIPTS = {
    "m-text": "tokens=12",
    "m-billed-*": "tokens=12",
    "m-tool": "tools=1",
    "m-two": "tools=2",
    "m-think": "tokens=6 reasoning=5",
    "m-think-tool": "tools=1 reasoning=5",
    "m-429": "429 retry-after=7",
    "m-529": "529",
    "m-400": "400",
    "m-cut": "tokens=12 cut=reset after=4",
    "m-event": "tokens=12 error_event after=4",
    "m-length": "tokens=50",
}


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("matrix")
    document = document_of(chaos.base_url, folder / "ledger.db", models=SCRIPTS)
    document["providers"] = six_providers(chaos.url)
    document["retry"] = {"max_retries": 0}
    with run_gateway(document) as running:
        yield running


@pytest.fixture(scope="module")
def sdks(gateway: Running) -> Iterator[dict[str, Sdk]]:
    url = f"http://127.0.0.1:{gateway.port}"
    with ExitStack() as stack:
        yield {name: stack.enter_context(kind(url)) for name, kind in SDKS.items()}


every_pair = pytest.mark.parametrize(
    ("caller", "provider"), [(caller, provider) for caller in SDKS for provider in SIX]
)
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


@pytest.fixture(autouse=True)
def clean(chaos: Chaos) -> None:
    chaos.reset()


def one(chaos: Chaos) -> Any:
    (entry,) = ended(chaos)
    return entry


def ended(chaos: Chaos) -> list[Any]:
    """The journal, once the provider knows what it served: a client may have heard it all before."""
    return chaos.wait_for(lambda entries: entries and all(entry.end is not None for entry in entries))


@every_pair
@both_ways
class TestPairs:
    def test_text(self, sdks, chaos, caller, provider, stream) -> None:
        said = sdks[caller].ask(
            f"{provider}/m-text", Turn(prompt="Say it.", system="Be brief.", stream=stream)
        )
        entry = one(chaos)
        assert said.text == entry.text != ""
        assert said.finish == "stop"
        assert (said.input_tokens, said.output_tokens) == (
            entry.usage.prompt_tokens,
            entry.usage.completion_tokens,
        )
        assert b"Say it." in entry.body
        assert b"Be brief." in entry.body

    def test_the_answer_is_as_long_as_was_allowed(self, sdks, chaos, caller, provider, stream) -> None:
        said = sdks[caller].ask(f"{provider}/m-length", Turn(max_tokens=16, stream=stream))
        assert said.finish == "length"
        assert said.text == one(chaos).text

    def test_a_tool_and_its_result(self, sdks, chaos, caller, provider, stream) -> None:
        sdk, first = sdks[caller], Turn(prompt="Weather?", tools=True, stream=stream)
        said = sdk.ask(f"{provider}/m-tool", first)
        assert said.finish == "tool_calls"
        (call,) = said.calls
        assert call.name == "get_weather"
        assert set(call.arguments) == {"city"}
        second = Turn(
            tools=True,
            stream=stream,
            before=(*sdk.prompt(first), said.turn),
            results=((call, "17 degrees in the harbour"),),
        )
        again = sdk.ask(f"{provider}/m-text", second)
        assert again.text == ended(chaos)[-1].text != ""
        assert b"17 degrees in the harbour" in ended(chaos)[-1].body

    def test_parallel_tools_and_their_results(self, sdks, chaos, caller, provider, stream) -> None:
        sdk, first = sdks[caller], Turn(prompt="Weather in two places?", tools=True, stream=stream)
        said = sdk.ask(f"{provider}/m-two", first)
        assert [call.name for call in said.calls] == ["get_weather", "get_weather"]
        if said.calls[0].id is not None:
            assert said.calls[0].id != said.calls[1].id
        second = Turn(
            tools=True,
            stream=stream,
            before=(*sdk.prompt(first), said.turn),
            results=((said.calls[0], "first result"), (said.calls[1], "second result")),
        )
        again = sdk.ask(f"{provider}/m-text", second)
        entry = ended(chaos)[-1]
        assert again.text == entry.text != ""
        assert entry.body.index(b"first result") < entry.body.index(b"second result")

    def test_an_image(self, sdks, chaos, caller, provider, stream) -> None:
        turn = Turn(prompt="What is this?", image=True, stream=stream)
        said = sdks[caller].ask(f"{provider}/m-text", turn)
        entry = one(chaos)
        assert said.text == entry.text
        body = entry.body.replace(b"-", b"+").replace(b"_", b"/")  # Google's SDK writes the URL-safe alphabet
        assert base64.b64encode(IMAGE) in body

    def test_structured_output(self, sdks, chaos, caller, provider, stream) -> None:
        said = sdks[caller].ask(f"{provider}/m-text", Turn(prompt="Who?", schema=True, stream=stream))
        person = json.loads(said.text)
        assert set(person) == set(SCHEMA["required"])
        assert isinstance(person["age"], int)

    def test_thoughts(self, sdks, chaos, caller, provider, stream) -> None:
        said = sdks[caller].ask(f"{provider}/m-think", Turn(thinking=True, stream=stream))
        entry = one(chaos)
        assert said.text == entry.text
        assert said.reasoning
        assert said.output_tokens == entry.usage.completion_tokens

    def test_thoughts_come_back_to_whom_they_belong(self, sdks, chaos, caller, provider, stream) -> None:
        """The provider refuses a thought or a call whose signature it didn't make: the gateway must bring it back whole."""
        sdk, first = sdks[caller], Turn(prompt="Think, then call.", tools=True, thinking=True, stream=stream)
        said = sdk.ask(f"{provider}/m-think-tool", first)
        (call,) = said.calls
        second = Turn(
            tools=True,
            thinking=True,
            stream=stream,
            before=(*sdk.prompt(first), said.turn),
            results=((call, "done"),),
        )
        assert sdk.ask(f"{provider}/m-text", second).text == ended(chaos)[-1].text != ""

    @pytest.mark.parametrize(("model", "status"), [("m-429", 429), ("m-529", 502), ("m-400", 400)])
    def test_errors(self, sdks, chaos, caller, provider, stream, model, status) -> None:
        with refused() as failures:
            sdks[caller].ask(f"{provider}/{model}", Turn(stream=stream))
        (failure,) = failures
        assert failure.status in ((status, 503, 529) if model == "m-529" else (status,))
        assert failure.message
        shape = {
            "openai": {"error"} if "error" in (failure.body or {}) else {"message", "type", "param", "code"},
            "anthropic": {"type", "error"},
            "google": {"error"},
        }[caller]
        assert shape <= set(failure.body)


@every_pair
@pytest.mark.parametrize("model", ["m-cut", "m-event"])
def test_a_broken_stream_is_never_a_whole_one(sdks, caller, provider, model) -> None:
    with refused() as failures:
        sdks[caller].ask(f"{provider}/{model}", Turn(stream=True))
    assert failures


@pytest.mark.parametrize("caller", SDKS)
def test_every_provider_was_billed_what_it_served(sdks, chaos, gateway, caller) -> None:
    for provider in SIX:
        chaos.reset()
        sdks[caller].ask(f"{provider}/m-billed-{caller}", Turn())
        entry = one(chaos)
        end = gateway.end_of(f"{provider}/m-billed-{caller}")
        assert end.provider == provider
        assert end.usage is not None
        assert (end.usage.input_tokens, end.usage.output_tokens) == (
            entry.usage.prompt_tokens,
            entry.usage.completion_tokens,
        )
