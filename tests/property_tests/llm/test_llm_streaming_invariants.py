"""Invariants of streams: whole, constant, ended once; fallback, retries and limits that keep them so.

The names of classes and tests are those of the document that asked for them; the tests run the product's own engine in
virtual time, against providers that misbehave. Each bug that the document names is here as a regression. Its throughput test
is restated: a minimum rate is the caller's to set and comes later; what is tested is that nothing is slower through us.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.simulation.chat_wire import DONE, chunk, refuses, request, speaks, stream, usage_chunk
from tests.simulation.world import Outcome, World
from tests.unit.client.here import Here, in_virtual_time

from holdfast.engine.policy import Policy, Retry, Timeouts
from holdfast.errors import HoldfastError, TargetsFailed
from holdfast.testing.memory_transport import Reply
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from holdfast import StreamChunk

PROVIDERS = ("openai", "anthropic", "deepseek", "gemini")
PRICES = {"openai": ("2", "8"), "anthropic": ("3", "15"), "deepseek": ("0.25", "1"), "gemini": ("1", "4")}
ONCE = Retry(max_retries=0, jitter=0.0)


def listen(scripts) -> tuple[list[StreamChunk], HoldfastError | None]:
    """The same, as the library's caller has it: the chunks, and the error that ended them."""

    async def main(here: Here) -> tuple[list[StreamChunk], HoldfastError | None]:
        chunks: list[StreamChunk] = []
        try:
            async for each in here.client.stream("hello"):
                chunks.append(each)  # noqa: PERF401  # what came before an error counts
        except HoldfastError as error:
            return chunks, error
        return chunks, None

    patient = {"idle_s": 600, "first_token_s": 600}
    return in_virtual_time(scripts, main, timeouts=patient)


messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system"]),
            "content": st.text(min_size=1, max_size=200),
        }
    ),
    min_size=1,
    max_size=10,
)


def ask(scripts, body: bytes | None = None, **world: object) -> tuple[Outcome, World]:
    async def main(clock: VirtualClock) -> tuple[Outcome, World]:
        here = World(clock, scripts, prices=PRICES, **world)
        outcome = await here.ask(body)
        here.assert_quiet()
        return outcome, here

    return run_virtual(main)


class TestStreamingCompletionInvariants:
    """Every token of one attempt, in order, and one true ending."""

    @given(
        chunk_count=st.integers(1, 100),
        tokens_per_chunk=st.integers(1, 20),
        cuts=st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from([0.0, 0.01, 2.0])), max_size=20),
    )
    @example(chunk_count=3, tokens_per_chunk=1, cuts=[(n, 0.01) for n in range(600)])
    def test_streaming_chunk_ordering_invariant(self, chunk_count, tokens_per_chunk, cuts):
        """
        INVARIANT: chunks arrive in the order in which the provider sent them: no gap, no duplicate.

        The bug: chunks came out of order under network latency. Here the bytes are cut anywhere, also within a character,
        and each segment takes its own time.
        """
        tokens = ["".join(f"é{n}.{k} " for k in range(tokens_per_chunk)) for n in range(chunk_count)]
        data = b"".join(stream(*tokens))
        places = sorted({place % len(data): delay for place, delay in cuts}.items())
        begins = [0, *(place for place, _ in places)]
        ends = [*(place for place, _ in places), len(data)]
        delays = [0.0, *(delay for _, delay in places)]
        segments = tuple(
            (delay, data[b:e]) for delay, b, e in zip(delays, begins, ends, strict=True) if e > b
        )
        reply = Reply(200, {"content-type": "text/event-stream"}, segments)

        outcome, _ = ask({"openai": [reply]}, timeouts=Timeouts(idle_s=600.0, first_token_s=600.0))

        assert outcome.heard.text == "".join(tokens)
        assert outcome.end.state == "ok"
        chunks, error = listen({"openai": [reply]})
        assert error is None
        assert [each.text for each in chunks if each.text] == tokens
        assert [each.index for each in chunks] == list(range(len(chunks)))

    @given(
        model=st.sampled_from(["gpt-4", "gpt-3.5-turbo", "claude-3-opus"]),
        changes=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=5, max_size=50),
        failed_first=st.booleans(),
    )
    def test_streaming_metadata_consistency_invariant(self, model, changes, failed_first):
        """
        INVARIANT: all chunks of one stream have the same id, model and provider.

        Also where the server makes up a new id or another model's name for each chunk, and after a fallback.
        """
        frames = [chunk(str(n), answer_id=i, model=f"{model}-{m}") for n, (i, m) in enumerate(changes)]
        frames += [
            chunk(finish="stop", answer_id="last", model="last"),
            usage_chunk(1, 1, answer_id="u"),
            DONE,
        ]
        scripts = {"anthropic": [speaks(*frames)]}
        if failed_first:
            lost = speaks(chunk(role="assistant", answer_id="lost", model="lost"), ending="reset")
            scripts = {"openai": [lost], **scripts}

        outcome, _ = ask(scripts, request(stream_options={"include_usage": True}), retry=ONCE)

        assert outcome.heard.ids == {changes[0][0]}
        assert outcome.heard.models == {f"{model}-{changes[0][1]}"}
        assert outcome.heard.usages == [(1, 1)]
        assert outcome.end.provider == "anthropic"
        chunks, error = listen(scripts)
        assert error is None
        assert {(each.provider, each.model) for each in chunks} == {("anthropic", "m")}

    @given(
        finish_reason=st.sampled_from(["stop", "length", "content_filter", "tool_calls", None]),
        chunk_count=st.integers(1, 10),
        marker=st.booleans(),
        ending=st.sampled_from(["complete", "cut", "reset"]),
    )
    def test_streaming_eos_signaling_invariant(self, finish_reason, chunk_count, marker, ending):
        """
        INVARIANT: the last chunk, and only the last, has a finish reason; a stream without one is an error, never a success.
        """
        frames = [chunk(f"token_{n}") for n in range(chunk_count)]
        if finish_reason:
            frames.append(chunk(finish=finish_reason))
        if marker:
            frames.append(DONE)

        outcome, _ = ask({"openai": [speaks(*frames, ending=ending, gap_s=0.1)]}, retry=ONCE)

        said = [json.loads(line[6:]) for line in outcome.body.split(b"\n\n") if line.startswith(b"data: {")]
        reasons = [each["choices"][0]["finish_reason"] for each in said if each.get("choices")]
        assert reasons[:chunk_count] == [None] * chunk_count
        assert reasons[chunk_count:] == ([finish_reason] if finish_reason else [])
        assert outcome.heard.dones == (1 if finish_reason else 0)
        assert len(outcome.heard.errors) == (0 if finish_reason else 1)
        assert outcome.end.state == ("ok" if finish_reason else "failed")
        chunks, error = listen({"openai": [speaks(*frames, ending=ending, gap_s=0.1)]})
        assert (error is None) == bool(finish_reason)
        assert [each.text for each in chunks[:chunk_count]] == [f"token_{n}" for n in range(chunk_count)]
        assert [each.finish_reason for each in chunks] == reasons


class TestProviderFallbackInvariants:
    """Another provider, the same question, and every bill."""

    @given(
        messages=messages,
        failing_providers=st.lists(st.sampled_from(PROVIDERS[:3]), max_size=2, unique=True),
        temperature=st.none() | st.sampled_from([0, 0.7, 1.0]),
    )
    def test_fallback_preserves_conversation_history_invariant(
        self, messages, failing_providers, temperature
    ):
        """
        INVARIANT: the provider that is fallen back to receives the same conversation, tools and parameters.

        The bug: the history was lost, because the messages weren't copied into the next provider's request.
        """
        tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
        asked = {"messages": messages, "tools": tools, "temperature": temperature, "x_unknown": {"kept": [1]}}
        scripts = {
            name: [refuses(503)] if name in failing_providers else [speaks(*stream(f"from {name}"))]
            for name in PROVIDERS[:3]
        }
        outcome, world = ask(scripts, request(prompt="", **asked), retry=ONCE)

        first_well = next(name for name in PROVIDERS if name not in failing_providers)
        assert outcome.heard.text == f"from {first_well}"
        for seen in world.transport.exchanges:
            received = json.loads(seen.request.body)
            assert {name: received[name] for name in asked} == asked
            assert received["model"] == "m"
            assert set(received) == {*asked, "model", "stream", "stream_options", "max_tokens"}
            assert seen.request.body == world.transport.exchanges[0].request.body
        assert len(world.transport.exchanges) == PROVIDERS.index(first_well) + 1

    @given(
        first=st.tuples(st.integers(1, 10_000), st.integers(1, 5_000)),
        then=st.tuples(st.integers(1, 10_000), st.integers(1, 5_000)),
        primary=st.sampled_from(PROVIDERS[:2]),
        fallback=st.sampled_from(PROVIDERS[2:]),
    )
    def test_fallback_cost_tracking_invariant(self, first, then, primary, fallback):
        """
        INVARIANT: the cost is that of every attempt that a provider billed, each at its own provider's price.

        The document charged only the last provider, and at its price for everything.
        """
        billed_and_cut = speaks(chunk("lost"), usage_chunk(*first), gap_s=0.1, ending="reset")
        outcome, _ = ask(
            {primary: [billed_and_cut], fallback: [speaks(*stream("whole", usage=then))]},
            policy=Policy(on_break="buffer"),
            retry=ONCE,
        )

        def nano(provider: str, usage: tuple[int, int]) -> int:
            return sum(n * int(float(price) * 1000) for n, price in zip(usage, PRICES[provider], strict=True))

        assert [row.cost_nano for row in outcome.rows] == [nano(primary, first), nano(fallback, then)]
        assert outcome.end.cost_nano == nano(primary, first) + nano(fallback, then) > 0
        assert [row.billed for row in outcome.rows] == ["provider", "provider"]


class TestStreamingErrorRecoveryInvariants:
    """How often, and how soon."""

    @given(
        failures=st.integers(0, 8),
        max_retries=st.integers(0, 5),
        status=st.sampled_from([429, 500, 503, 529]),
    )
    def test_retry_limit_enforced_invariant(self, failures, max_retries, status):
        """
        INVARIANT: with ``max_retries = N`` there are at most N retries after the first try, and then an error.
        """
        replies = [refuses(status)] * failures + [speaks(*stream("at last"))]
        outcome, world = ask(
            {"openai": replies},
            retry=Retry(max_retries=max_retries, jitter=0.0),
            policy=Policy(max_attempts=99),
        )

        assert len(world.arrivals("openai")) == min(failures, max_retries) + 1 == len(outcome.rows)
        if failures <= max_retries:
            assert outcome.heard.text == "at last"
        else:
            assert isinstance(outcome.error, TargetsFailed)
            assert outcome.took_s == pytest.approx(world.arrivals("openai")[-1]), "no wait after the last one"

    @given(
        base_s=st.floats(0.1, 5.0),
        multiplier=st.floats(1.5, 4.0),
        retries=st.integers(3, 6),
        max_s=st.floats(5.0, 60.0),
    )
    def test_exponential_backoff_invariant(self, base_s, multiplier, retries, max_s):
        """
        INVARIANT: each delay is at least 1.5 times the one before, until the cap; jitter apart.

        The document tried delays that it had drawn itself, at random.
        """
        _, world = ask(
            {"openai": [refuses(503)] * (retries + 1)},
            retry=Retry(max_retries=retries, base_s=base_s, multiplier=multiplier, max_s=max_s, jitter=0.0),
            policy=Policy(max_attempts=99),
        )
        at = world.arrivals("openai")
        delays = [then - before for before, then in pairwise(at)]
        assert len(delays) == retries
        assert delays[0] == pytest.approx(min(base_s, max_s))
        for before, then in pairwise(delays):
            assert then >= min(1.5 * before, max_s) - 1e-6
            assert then <= max_s + 1e-6


class TestStreamingPerformanceInvariants:
    """Limits hold, and nothing is slower through us."""

    @given(
        stalls_s=st.floats(0.0, 600.0),
        where=st.sampled_from(["connect", "head", "first"]),
    )
    @example(stalls_s=10.0, where="connect")
    def test_first_token_latency_invariant(self, stalls_s, where):
        """
        INVARIANT: the first token is there within the caller's limit (3 s), from this provider or the next.

        The bug: it took more than 10 seconds, because connecting had no time limit.
        """
        stalled = {f"{where}_s": stalls_s}
        outcome, _ = ask(
            {"openai": [speaks(*stream("slow"), **stalled)], "anthropic": [speaks(*stream("quick"))]},
            timeouts=Timeouts(connect_s=2.0, first_token_s=3.0),
            retry=ONCE,
        )
        limit_s = 2.0 if where == "connect" else 3.0
        assert outcome.end.first_token_ms <= (limit_s + 0.011) * 1e3
        if stalls_s < limit_s - 0.011:
            assert outcome.heard.text == "slow"
        elif stalls_s > limit_s + 0.011:
            assert outcome.heard.text == "quick"
            assert outcome.rows[0].outcome in ("timed_out", "connect_failed")

    @given(token_count=st.integers(2, 100), tokens_per_s=st.floats(0.5, 1000.0))
    def test_token_throughput_invariant(self, token_count, tokens_per_s):
        """
        INVARIANT: tokens come out at the rate at which the provider sends them: we add no time, at any rate.
        """
        gap_s = 1 / tokens_per_s
        events = [chunk(f"{n} ") for n in range(token_count)] + [chunk(finish="stop") + DONE]
        outcome, _ = ask({"openai": [speaks(*events, gap_s=gap_s)]}, retry=ONCE)

        assert outcome.heard.text.split() == [str(n) for n in range(token_count)]
        assert outcome.took_s == pytest.approx(token_count * gap_s, abs=1e-6)
