"""Accepted = ok + failed + cancelled + unknown + in flight, whatever happens in whatever order, crashes included."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from tests.unit.ledger.helpers import HandClock, attempt, end, intent, store_at

from holdfast.ledger.reader import LedgerReader

FINAL = st.sampled_from(["ok", "failed", "cancelled", "unknown"])


class Accounting(RuleBasedStateMachine):
    """The file against a dictionary: id -> (state, settled by, late, cost)."""

    open_ids = Bundle("open")
    known_ids = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.db"
        self.clock = HandClock()
        self.store = store_at(self.path, self.clock)
        self.reader = LedgerReader(self.path)
        self.model: dict[str, tuple[str, str | None, bool, int | None]] = {}
        self.number = 0

    @rule(target=open_ids, times=st.integers(1, 40), bound=st.none() | st.integers(0, 2**62))
    def begin(self, times: int, bound: int | None):
        ids = [f"{self.number + n}" for n in range(times)]
        self.number += times
        written = self.store.write([intent(each, bound_nano=bound) for each in ids], [])
        assert written.refused == {}
        self.model |= dict.fromkeys(ids, ("in_flight", None, False, bound))
        return multiple(*ids)

    @rule(request_id=known_ids)
    def begin_again(self, request_id: str) -> None:
        fresh = f"{self.number}"
        self.number += 1
        written = self.store.write([intent(request_id), intent(fresh, bound_nano=1)], [])
        assert list(written.refused) == [0]
        self.model[fresh] = ("in_flight", None, False, 1)

    @rule(
        target=known_ids,
        ids=st.lists(consumes(open_ids), min_size=1, max_size=20),
        state=FINAL,
        cost=st.integers(0, 9),
    )
    def finish(self, ids: list[str], state: str, cost: int):
        self.finish_all(ids, state, cost)
        return multiple(*ids)

    @rule(ids=st.lists(known_ids, max_size=5), state=FINAL, cost=st.integers(10, 19))
    def finish_again(self, ids: list[str], state: str, cost: int) -> None:
        self.finish_all(ids, state, cost)

    @rule(request_id=consumes(open_ids), target=known_ids)
    def finish_unreadably(self, request_id: str) -> str:
        self.store.write([], [end(request_id, delivered_bytes=2**80)])
        state, _, _, bound = self.model[request_id]
        if state == "in_flight":
            self.model[request_id] = ("unknown", "end", False, bound)
        return request_id

    @rule()
    def finish_nobody(self) -> None:
        assert self.store.write([], [end("nobody")]).ignored == 1

    @rule()
    def crash(self) -> None:
        self.store._connection.close()
        self.store._lock.release()
        self.store = store_at(self.path, self.clock)
        left_open = [each for each, row in self.model.items() if row[0] == "in_flight"]
        assert self.store.recovered == len(left_open)
        for each in left_open:
            self.model[each] = ("unknown", "recovery", False, self.model[each][3])

    @rule(seconds=st.floats(0, 100))
    def renew(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.store.renew()

    def finish_all(self, ids: list[str], state: str, cost: int) -> None:
        late = ignored = 0
        for each in ids:
            before, settled_by, _, _ = self.model[each]
            if before != "in_flight" and settled_by != "recovery":
                ignored += 1
                continue
            late += settled_by == "recovery"
            self.model[each] = (state, "end", settled_by == "recovery", cost)
        ends = [end(each, state=state, cost_nano=cost, attempts=(attempt(1), attempt(2))) for each in ids]
        written = self.store.write([], ends)
        assert (written.late, written.ignored) == (late, ignored)

    @invariant()
    def every_request_is_counted_once(self) -> None:
        counts = self.reader.counts()
        states = [row[0] for row in self.model.values()]
        assert counts.balanced
        assert counts.accepted == len(states)
        for state in ("ok", "failed", "cancelled", "unknown", "in_flight"):
            assert getattr(counts, state) == states.count(state)

    def teardown(self) -> None:
        seen = {
            record.intent.id: (
                record.state,
                record.settled_by,
                record.late,
                record.intent.bound_nano if record.end is None else record.cost_nano,
            )
            for record in self.reader.requests(limit=None, order="oldest")
        }
        self.reader.close()
        self.store.close()
        self.folder.cleanup()
        assert seen == self.model


TestAccounting = Accounting.TestCase
TestAccounting.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)  # slow: real files
