"""The thread bulkhead against a model: a list of who runs and a list of who waits, step by step with real threads.

Every function says that it has begun and waits to be let go, so nothing here depends on how fast a thread is.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.resilience.bulkhead import BulkheadFullError
from holdfast.resilience.thread_bulkhead import ThreadBulkhead

WITHIN_S = 10


@dataclass(eq=False)
class Call:
    number: int
    begun: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> int:
        self.begun.set()
        assert self.go.wait(WITHIN_S)
        return self.number


@settings(max_examples=40)  # each one starts threads
@given(
    workers=st.integers(1, 3),
    room=st.integers(0, 3),
    events=st.lists(
        st.tuples(st.sampled_from(("submit", "submit", "end", "cancel")), st.integers(0, 5)), max_size=25
    ),
)
def test_so_many_run_so_many_wait_in_their_order(workers, room, events):
    """BH1: a cancelled one leaves the queue and not its thread; the next in line begins when one has ended, not before."""
    running: list[Call] = []
    waiting: list[Call] = []
    futures = {}
    with ThreadBulkhead(workers, room) as bulkhead:

        def end(call: Call) -> None:
            running.remove(call)
            call.go.set()
            if waiting:
                running.append(waiting.pop(0))
            if not futures[call].cancelled():
                assert futures[call].result(WITHIN_S) == call.number

        for number, (what, which) in enumerate(events):
            if what == "submit":
                call = Call(number)
                try:
                    futures[call] = bulkhead.submit(call)
                except BulkheadFullError:
                    assert len(running) + len(waiting) == workers + room
                else:
                    (running if len(running) < workers else waiting).append(call)
            elif what == "end" and running:
                end(running[which % len(running)])
            elif what == "cancel" and running + waiting:
                call = (running + waiting)[which % len(running + waiting)]
                assert futures[call].cancel() == (call in waiting)
                if call in waiting:
                    waiting.remove(call)
            for call in running:
                assert call.begun.wait(WITHIN_S)
            assert not any(call.begun.is_set() for call in waiting)
            assert (bulkhead.running, bulkhead.waiting) == (len(running), len(waiting))
        while running:
            end(running[0])
        assert (bulkhead.running, bulkhead.waiting) == (0, 0)
