"""TK1: what is shown of a model's tokens comes closer to its bills."""

from tests.simulation.chat_wire import request, whole
from tests.simulation.world import World, converse

from holdfast.engine.learning import LARGEST, Learner
from holdfast.testing.virtual_time import run_virtual

PROMPT = "The quick brown fox jumps over the lazy dog. " * 40


def learnt(*, every=1, asks=20, prompt=PROMPT, usage=(600, 5), unseen=False, awake=True):
    """What an engine has learnt of a model after some requests, in thousandths."""

    async def main(clock):
        world = World(clock, {"a": [whole("yes", usage=usage) for _ in range(asks)]})
        world.engine.learner = Learner(every=every)
        world.engine.learner.awake = awake
        picture = {"type": "image_url", "image_url": {"url": "https://there/x.png"}}
        more = {"messages": [{"role": "user", "content": [picture]}]} if unseen else {}
        for _ in range(asks):
            exchange = world.exchange(request(stream=False, prompt=prompt, **more))
            await converse(exchange)
            exchange.close()
            await world.engine.learner.aclose()
        world.assert_quiet()
        return world.engine.learner.learned.ratio("m", "a")

    return run_virtual(main)


def test_bills_are_learnt_from():
    assert learnt() > 1_100


def test_nothing_is_counted_before_anybody_asks_for_counts():
    assert learnt(awake=False) == 1_000


def test_one_in_so_many_is_counted():
    """Of 20 requests one, the first: too few to move a median."""
    assert learnt(every=100) == 1_000


def test_what_nobody_told_or_sees_or_is_large_teaches_nothing():
    assert learnt(usage=None) == 1_000
    assert learnt(usage=(10**13, 5)) == 1_000
    assert learnt(unseen=True) == 1_000
    assert learnt(prompt="x " * LARGEST, usage=(LARGEST * 4, 5), asks=3) == 1_000
