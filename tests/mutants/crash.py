"""What kill -9 must not break: each guard taken out once, and found by gateways that die at the place concerned."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_PLACES = "tests/crash/test_places.py"
_UNIT = "tests/unit/test_failpoints.py"

MUTANTS = [
    Mutant("LE1: nobody waits for the intent", "engine/exchange.py",
           "            await self._begin_intent(intent)\n",
           "            asyncio.ensure_future(self._begin_intent(intent))\n",
           f"{_PLACES}::test_what_was_sent_has_an_intent"),
    Mutant("LE1: who waits for an intent is told before it is written", "ledger/writer.py",
           "        try:\n            written = self._store.write(intents,",
           "        _tell([(each.waiter, None, None) for each in begun])\n"
           "        try:\n            written = self._store.write(intents,",
           f"{_PLACES}::test_what_was_sent_has_an_intent"),
    Mutant("ID1: a run doesn't wait for its key's claim", "engine/idempotency.py",
           "        verdict = await self._runs.store.claim(self.claim, now_ns=engine.clock.wall_ns(), intent=intent)\n",
           "        await engine.ledger.begin(intent)\n"
           "        asyncio.ensure_future(self._runs.store.claim(self.claim, now_ns=engine.clock.wall_ns()))\n"
           "        verdict = Claimed()\n",
           f"{_PLACES}::test_what_was_sent_has_an_intent"),
    Mutant("LE1: the dead keep their leases", "ledger/sqlite.py",
           "        self._lease.sole(self._connection)\n", "",
           f"{_PLACES}::test_what_was_recovered_is_recovered_once"),
    Mutant("BU2: recovery forgets the bounds", "ledger/recovery.py",
           "        spend_sql.charge_bounds(\n", "        (lambda _connection, _bounds: None)(\n",
           f"{_PLACES}::test_what_was_recovered_is_recovered_once"),
    Mutant("BU2: recovery closes requests before it charges them", "ledger/recovery.py",
           "        if failpoints.armed:\n            failpoints.hit(\"recovery.closed\")\n",
           "        connection.execute(\"COMMIT\")\n        connection.execute(\"BEGIN IMMEDIATE\")\n"
           "        if failpoints.armed:\n            failpoints.hit(\"recovery.closed\")\n",
           f"{_PLACES}::test_what_was_recovered_is_recovered_once"),
    Mutant("LE1: whoever was in flight has failed", "ledger/recovery.py",
           "SET state = 'unknown',", "SET state = 'failed',",
           f"{_PLACES}::test_what_was_delivered_never_stands_as_failed"),
    Mutant("BU2: an end is written before its charges", "ledger/sqlite.py",
           "                spend_sql.charge(connection, ends)\n                connection.execute(\"RELEASE ends\")\n",
           "                connection.execute(\"RELEASE ends\")\n"
           "                connection.execute(\"COMMIT\")\n"
           "                connection.execute(\"BEGIN IMMEDIATE\")\n"
           "                spend_sql.charge(connection, ends)\n",
           f"{_PLACES}::test_an_end_and_its_charges_are_one"),
    Mutant("BU1: nobody waits for a raised bound", "engine/treasury.py",
           "                await self._treasury.ledger.raise_bound(\n"
           "                    self._call.id, bound_nano=covered.nano, bound_tokens=covered.tokens\n"
           "                )\n",
           "                import asyncio\n"
           "                asyncio.ensure_future(self._treasury.ledger.raise_bound(\n"
           "                    self._call.id, bound_nano=covered.nano, bound_tokens=covered.tokens\n"
           "                ))\n",
           f"{_PLACES}::test_a_raised_bound_is_durable_before_its_attempt"),
    Mutant("ID2: the last piece of an answer isn't kept", "engine/idempotency.py",
           "body=b\"\".join(kept))", "body=b\"\".join(kept[:-1]))",
           f"{_PLACES}::test_an_answer_is_kept_as_it_was_given"),
    Mutant("ID1: a run that failed leaves its key as it is", "ledger/recovery.py",
           "    idempotency_sql.give_up(connection, now_ns)\n",
           "    connection.execute(\"DELETE FROM idempotency WHERE state = 'running'\")\n",
           f"{_PLACES}::test_a_key_runs_again_only_after_a_failure"),
    Mutant("LE1: closing leaves unwritten what waits", "ledger/writer.py",
           "        return not (self._inbox or self._owes() or self._flushes) or",
           "        return True or",
           "tests/unit/ledger/test_writer.py::test_closing_writes_what_waits_and_closes_the_store"),
    Mutant("BU1: an intent is durable before the end that made room for it", "ledger/writer.py",
           "        while (begun or asked) and len(self._waiting) > self._room(group):\n",
           "        while (begun or asked) and len(self._waiting) > 100_000:\n",
           "tests/unit/ledger/test_writer.py::test_an_intent_is_never_durable_before_an_end_that_made_room_for_it"),
    # Failpoints themselves.
    Mutant("a failpoint is on for whoever imports the library", "failpoints.py",
           "_places: dict[str, _Place] = {}\n",
           "_places: dict[str, _Place] = {}\nif VARIABLE in os.environ:\n    armed = True\n",
           f"{_UNIT}::test_importing_the_library_arms_nothing"),
    Mutant("a failpoint is hit again and again", "failpoints.py",
           "    return lambda: next(count) == nth ", "    return lambda: next(count) >= nth ",
           f"{_UNIT}::test_at_the_hit_that_was_named_and_at_no_other"),
    Mutant("a failpoint that there isn't is taken", "failpoints.py",
           "    if name not in NAMES:\n", "    if not name:\n",
           f"{_UNIT}::test_what_cant_be_meant_is_refused_and_arms_nothing"),
    Mutant("failpoints' chance has no seed", "failpoints.py",
           "random.Random(int(parts[\"seed\"] or 0)).random", "random.random",
           f"{_UNIT}::test_chance_replays_from_its_seed"),
    Mutant("the command line doesn't read failpoints", "cli/commands.py",
           "        failpoints.arm(environment().get(failpoints.VARIABLE))\n", "",
           f"{_UNIT}::test_the_command_line_reads_it_and_a_kill_is_a_kill"),
]  # fmt: skip  # one mutant reads better in few lines than in ten
