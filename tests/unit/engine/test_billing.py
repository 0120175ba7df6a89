"""BU2, D11: what an attempt is charged, and what a usage must be to be believed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.simulation.chat_wire import chunk, request, speaks, stream, usage_chunk
from tests.simulation.world import World

from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.engine.billing import Delivered, settle
from holdfast.engine.guard import Guard
from holdfast.engine.policy import Policy, Retry, Target
from holdfast.engine.rates import RateAdmission, RateRules, tokens_bound
from holdfast.errors import Abandoned, ConnectFailed, ConnectionLost, Overloaded
from holdfast.model import Usage
from holdfast.providers.prices import PriceBook, parse_overrides
from holdfast.providers.unknown_price import UnknownPrice
from holdfast.resilience.rate_meter import RateLimitSettings
from holdfast.testing.memory_transport import Reply
from holdfast.testing.virtual_time import run_virtual

DIALECT = OpenAIChat()
PRICE = {"input_per_1m": Decimal(1), "output_per_1m": Decimal(2)}
SEES = {**PRICE, "input_image_per_1m": Decimal(3)}
BOOK = PriceBook(parse_overrides({"one/m": PRICE, "one/sees": SEES})[0])
ASKED = DIALECT.read_request(b'{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}')
BOUND = 50 * 1_000 + 100 * 2_000
LOST = ConnectionLost("gone")


def bill_of(
    usage=None,
    *,
    error=None,
    sent=True,
    status=200,
    model="m",
    pricing=None,
    answered_as=None,
    delivered=None,
):
    return settle(
        BOOK,
        pricing or UnknownPrice(),
        Target(provider="one", model=model),
        ASKED,
        usage=usage,
        answered_as=answered_as,
        error=error,
        sent=sent,
        status=status,
        at_ns=0,
        input_tokens=50,
        delivered=delivered,
    )


def test_what_the_provider_told_is_exact_whatever_became_of_it():
    for error in (None, LOST, Abandoned("left")):
        bill = bill_of(Usage(input_tokens=3, output_tokens=4), error=error)
        assert (bill.nano, bill.tokens, bill.source) == (11_000, 7, "provider")


@pytest.mark.parametrize("error", [None, LOST, Abandoned("left")])
def test_what_was_sent_and_not_accounted_for_is_its_bound(error):
    bill = bill_of(error=error, status=None if error else 200)
    assert (bill.nano, bill.tokens, bill.source) == (BOUND, 150, "bound")


@pytest.mark.parametrize(
    ("error", "sent", "status"),
    [
        (Overloaded("busy", upstream_status=503), True, 503),
        (ConnectFailed("none"), True, None),
        (Abandoned("left"), False, None),
    ],
)
def test_what_nobody_worked_for_costs_nothing(error, sent, status):
    assert bill_of(error=error, sent=sent, status=status).amount == (0, 0)


@pytest.mark.parametrize(
    ("usage", "flag"),
    [
        (Usage(input_tokens=-5, output_tokens=1), "negative"),
        (Usage(input_tokens=5, output_tokens=10**13), "absurd"),
        (Usage(input_tokens=float("nan"), output_tokens=1), "not_a_count"),
        (Usage(input_tokens=True, output_tokens=1), "not_a_count"),
        (Usage(input_tokens=5), "missing"),
        (Usage(input_tokens=5, cache_read_tokens=9, output_tokens=1), "inconsistent"),
    ],
)
def test_what_can_not_be_true_is_its_bound(usage, flag):
    bill = bill_of(usage)
    assert (bill.nano, bill.source, bill.flag) == (BOUND, "bound", flag)


def test_without_a_price_the_tokens_are_known():
    bill = bill_of(Usage(input_tokens=3, output_tokens=4), model="nobodys")
    assert (bill.nano, bill.tokens, bill.source) == (None, 7, "provider")
    assert bill_of(Usage(input_tokens=3, output_tokens=4), model="alias", answered_as="m").nano == 11_000
    ceiling = UnknownPrice(ceiling_input=Decimal(10), ceiling_output=Decimal(10))
    assert bill_of(Usage(input_tokens=3, output_tokens=4), model="nobodys", pricing=ceiling).nano == 70_000


class TestACountSoFar:
    """Some providers tell with every piece what was used up to it. Of a stream that breaks there, that isn't the bill."""

    @pytest.mark.parametrize(
        ("events", "so_far"),
        [
            ([chunk("hi", usage=(5, 1))], True),
            ([chunk("hi"), chunk(finish="stop", usage=(5, 1))], False),
            ([chunk("hi", usage=(5, 1)), chunk(finish="stop", usage=(5, 2))], False),
            ([chunk("hi", usage=(5, 1)), chunk(finish="stop")], True),
            ([chunk("hi"), usage_chunk(5, 1)], False),  # told apart, so told last
        ],
    )
    def test_is_known_as_such(self, events, so_far):
        guard, scanner = Guard(DIALECT), DIALECT.scanner()
        for event in events:
            guard.feed(scanner.feed(event))
        assert guard.usage is not None
        assert guard.usage_so_far is so_far

    def test_is_not_what_a_broken_stream_costs(self):
        async def main(clock):
            begun = chunk("hi", usage=(10, 1)), chunk("ho", usage=(10, 2))
            world = World(clock, {"a": [speaks(*begun, ending="reset")]}, retry=Retry(max_retries=0))
            (row,) = (await world.ask()).rows
            assert row.billed == "bound"
            assert row.cost_nano > 100 * 8_000, "all the output that it may have written"

        run_virtual(main)


def test_a_usage_of_nothing_is_none():
    """No request is without input."""
    bill = bill_of(Usage(input_tokens=0, output_tokens=0))
    assert (bill.nano, bill.source, bill.flag) == (BOUND, "bound", "missing")


class TestDelivered:
    """``settle_unseen = "delivered"``: the input and what arrived, where nobody told a usage that can be believed."""

    @pytest.mark.parametrize("error", [None, LOST, Abandoned("left")])
    def test_the_input_at_its_bound_and_what_arrived(self, error):
        bill = bill_of(error=error, delivered=Delivered(7))
        assert (bill.nano, bill.tokens, bill.source) == (50 * 1_000 + 7 * 2_000, 57, "delivered")
        assert bill.price_id == bill_of(error=error).price_id is not None

    def test_no_more_than_was_asked_for(self):
        assert bill_of(delivered=Delivered(101)).amount == (BOUND, 150)

    @pytest.mark.parametrize(
        ("so_far", "tokens"),
        [
            (Usage(input_tokens=9), 9 + 7),
            (Usage(input_tokens=9, output_tokens=3), 9 + 7),
            (Usage(input_tokens=9, output_tokens=30), 9 + 30),
            (Usage(input_tokens=900, output_tokens=300), 900 + 300),
            (Usage(output_tokens=30), 50 + 30),
        ],
    )
    def test_what_the_provider_has_counted_so_far_is_better(self, so_far, tokens):
        bill = bill_of(error=LOST, delivered=Delivered(7, so_far))
        given = 50 if so_far.input_tokens is None else so_far.input_tokens
        assert (bill.nano, bill.tokens) == (given * 1_000 + (tokens - given) * 2_000, tokens)

    @pytest.mark.parametrize(
        "told",
        [
            Usage(input_tokens=-5, output_tokens=1),
            Usage(input_tokens=5, output_tokens=-1),
            Usage(input_tokens=5, output_tokens=10**13),
            Usage(input_tokens=True, output_tokens=1),
            Usage(input_tokens=5, cache_read_tokens=9, output_tokens=1),
            Usage(input_tokens=0, output_tokens=0),
        ],
    )
    def test_a_usage_that_is_not_believed_says_nothing_here_either(self, told):
        bill = bill_of(told, delivered=Delivered(7, told))
        assert (bill.nano, bill.tokens, bill.source) == (64_000, 57, "delivered")
        assert bill.flag == bill_of(told).flag is not None

    def test_nor_do_details_that_can_not_be(self):
        """A budget isn't spared by a cost that nobody can tell."""
        pictures = {"prompt_tokens_details": {"image_tokens": 99}}
        told = Usage(input_tokens=5, output_tokens=1, extra=pictures)
        bill = bill_of(error=LOST, model="sees", delivered=Delivered(7, told))
        assert (bill.nano, bill.source) == (50 * 3_000 + 7 * 2_000, "delivered")

    def test_what_was_told_is_exact_and_a_refusal_costs_nothing(self):
        bill = bill_of(Usage(input_tokens=3, output_tokens=4), delivered=Delivered(99))
        assert (bill.nano, bill.source) == (11_000, "provider")
        busy = Overloaded("busy", upstream_status=503)
        assert bill_of(error=busy, status=503, delivered=Delivered(99)).amount == (0, 0)

    def test_without_a_price_the_tokens_are_known(self):
        assert bill_of(model="nobodys", delivered=Delivered(7)).amount == (None, 57)

    @pytest.mark.parametrize(
        ("answer", "body", "output"),
        [
            (speaks(chunk("hell"), chunk("o wo"), chunk("rld."), gap_s=0.1, ending="reset"), {}, 3 + 3),
            (speaks(chunk("four" * 25), ending="reset", end_s=0.1), {}, 1 + 25),
            (speaks(*stream("four" * 5, usage=None)), {}, None),
            (Reply(None, ending="hang"), {}, 0),
            (Reply(200, segments=((0.0, b"x" * 80),), ending="cut"), {"stream": False}, 20),
        ],
        ids=["cut", "one-large-delta", "no-usage", "unanswered", "a-plain-one-cut"],
    )
    def test_a_route_that_settles_by_it(self, answer, body, output):
        async def main(clock):
            costs = []
            for choice in ("bound", "delivered"):
                world = World(
                    clock, {"a": [answer]}, retry=Retry(max_retries=0), policy=Policy(settle_unseen=choice)
                )
                outcome = await world.ask(request(max_tokens=100, **body))
                (row,) = outcome.rows
                assert row.billed == choice
                assert outcome.end.cost_nano == row.cost_nano
                costs.append(row.cost_nano)
            return costs

        bound, delivered = run_virtual(main)
        saved, rest = divmod(bound - delivered, 8_000)
        assert rest == 0
        if output is None:  # a token for each of its events, besides the text
            assert 5 < 100 - saved < 15
        else:
            assert 100 - saved == output


@pytest.mark.parametrize("choice", ["bound", "delivered"])
@pytest.mark.parametrize("told", [(-500, 5), (10**15, 5), (0, 0)])
def test_what_is_not_believed_gives_no_rate_back(told, choice):
    """RL1: the caller's tokens stay taken at their bound, and no more of them."""

    async def main(clock):
        spoken = speaks(chunk("a"), chunk(finish="stop"), usage_chunk(*told))
        world = World(clock, {"a": [spoken] * 2}, policy=Policy(settle_unseen=choice))
        rates = RateRules(caller=RateLimitSettings(tokens=100_000))
        world.engine.admission = admission = RateAdmission(rates, clock=clock)
        outcome = await world.ask()
        (row,) = outcome.rows
        assert row.usage_flag is not None
        left = admission.standing("local").tokens.remaining
        assert left == 100_000 - tokens_bound(world.call())

    run_virtual(main)
