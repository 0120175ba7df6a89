"""The ledger on PostgreSQL: each guard taken out once."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_UNIT = "tests/unit/ledger"
_LEASE = f"{_UNIT}/test_pg_lease.py"
_FAULTS = f"{_UNIT}/test_postgres.py"
_ROWS = f"{_UNIT}/test_bad_rows.py"
_WORDS = f"{_UNIT}/test_pg_listen.py"
_ELSEWHERE = "tests/unit/engine/test_idempotency_shared.py"

MUTANTS = [
    # Who is dead.
    Mutant(
        "BU1, LE1: who was given up begins requests",
        "ledger/pg_group.py",
        "WHERE EXISTS (SELECT 1 FROM owners WHERE owners.id = ?)",
        "WHERE ?::text IS NOT NULL",
        f"{_LEASE}::test_who_was_only_frozen_is_fenced_off_until_nobody_relies_on_its_name",
    ),
    Mutant(
        "BU1: a new name counts before the old one is forgotten",
        "ledger/postgres.py",
        "        if self._dead and self._acknowledged:\n            self._begin_anew()\n        group = ",
        "        if self._dead:\n            self._begin_anew()\n        group = ",
        f"{_LEASE}::test_who_was_only_frozen_is_fenced_off_until_nobody_relies_on_its_name",
    ),
    Mutant(
        "BU1, ID1: a statement takes something in a dead name",
        "ledger/pg_writing.py",
        "        if statement.owner is not None and not (alive and statement.owner == self._process.owner):\n",
        "        if False:\n",
        f"{_LEASE}::test_a_claim_in_a_dead_name_is_refused_and_runs_of_the_dead_are_unknown",
    ),
    Mutant(
        "LE1: who is committing an intent is taken for dead",
        "ledger/pg_writing.py",
        "            connection.execute(HOLD, (self._process.owner,))\n            inserted",
        "            inserted",
        f"{_LEASE}::test_who_is_committing_something_is_not_taken_for_dead[begins]",
    ),
    Mutant(
        "ID1: who is claiming is taken for dead",
        "ledger/pg_writing.py",
        "            connection.execute(HOLD, (owner,))\n",
        "",
        f"{_LEASE}::test_who_is_committing_something_is_not_taken_for_dead[claims]",
    ),
    Mutant(
        "LE1: who renews while it is judged is taken for dead",
        "ledger/pg_lease.py",
        "DELETE FROM owners WHERE id = ? AND expires_ns <= ?",
        "DELETE FROM owners WHERE id = ? AND ? > 0",
        f"{_LEASE}::test_who_renews_while_it_is_judged_lives",
    ),
    Mutant(
        "LE1: after the server's start everybody is dead",
        "ledger/pg_lease.py",
        "        if up_ns < self._lease_ns:\n",
        "        if False:\n",
        f"{_LEASE}::test_after_the_servers_start_nobody_is_given_up_for_a_lease",
    ),
    Mutant(
        "LE1: who couldn't renew itself gives others up",
        "ledger/pg_lease.py",
        "        if late or not steady:\n",
        "        if not steady:\n",
        f"{_LEASE}::test_who_couldnt_renew_itself_gives_nobody_up_for_a_lease",
    ),
    Mutant(
        "LE1: a clock that is set ends leases",
        "ledger/pg_lease.py",
        "        if late or not steady:\n",
        "        if late:\n",
        f"{_LEASE}::test_after_the_servers_clock_was_set_nobody_is_given_up_for_a_lease",
    ),
    Mutant(
        "BU1: a process that ends in order leaves its blocks",
        "ledger/pg_lease.py",
        "        connection.execute(_RELEASE, (owner,))\n        give_up_orphans(connection, self._clock.wall_ns())\n",
        "        connection.execute(_RELEASE, (owner,))\n",
        f"{_LEASE}::test_closing_in_order_leaves_nothing_to_wait_for",
    ),
    Mutant(
        "BU1: replicas go by their machines' clocks",
        "ledger/pg_clock.py",
        "        if self._epoch_ns is None:\n",
        "        if True:\n",
        f"{_LEASE}::test_dates_are_the_servers",
    ),
    # Once.
    Mutant(
        "BU2: recovery and an end charge the same request",
        "ledger/recovery.py",
        " ORDER BY id /*pg FOR UPDATE SKIP LOCKED pg*/",
        "",
        f"{_LEASE}::test_what_is_just_ending_is_not_charged_as_unknown_too",
    ),
    Mutant(
        "LE1: recovery and ends wait for each other",
        "ledger/recovery.py",
        " ORDER BY id /*pg FOR UPDATE SKIP LOCKED pg*/",
        " ORDER BY id /*pg FOR UPDATE pg*/",
        f"{_LEASE}::test_recovery_waits_for_no_end",
    ),
    Mutant(
        "BU2: a late end is charged on top of the guess, on a server",
        "ledger/pg_writing.py",
        "    spend_sql.take_back(connection, end.id)\n",
        "",
        f"{_LEASE}::test_who_was_only_frozen_is_fenced_off_until_nobody_relies_on_its_name",
    ),
    Mutant(
        "BU2: an end that is written twice is charged twice",
        "ledger/pg_group.py",
        "    WHERE requests.id = r.id AND requests.state = 'in_flight'\n",
        "    WHERE requests.id = r.id\n",
        f"{_FAULTS}::test_an_intent_whose_commit_was_never_answered_is_closed",
    ),
    Mutant(
        "LE1: an intent whose COMMIT was lost stays open",
        "ledger/postgres.py",
        "            raise self._failed(connection, error, ambiguous=lost) from error\n        written",
        "            raise self._failed(connection, error, ambiguous=False) from error\n        written",
        f"{_FAULTS}::test_an_intent_whose_commit_was_never_answered_is_closed",
    ),
    Mutant(
        "ID1: a statement whose COMMIT was lost isn't undone",
        "ledger/postgres.py",
        "            raise self._failed(connection, error, ambiguous=committing and lost) from error\n",
        "            raise self._failed(connection, error, ambiguous=False) from error\n",
        f"{_FAULTS}::test_a_statement_whose_commit_was_never_answered_is_undone",
    ),
    Mutant(
        "LE1: what was sent before a loss comes behind what is written after it",
        "ledger/postgres.py",
        "        if self._lost is not None:\n            wait_ms",
        "        if False:\n            wait_ms",
        f"{_FAULTS}::test_what_was_sent_before_a_loss_never_comes_behind_what_is_written_after_it",
    ),
    Mutant(
        "ID1: two processes have an expired key",
        "ledger/idempotency_sql.py",
        "        connection.execute(_FREE, (claim.tenant, claim.key, now_ns))\n",
        "        connection.execute(_FREE, (claim.tenant, claim.key, now_ns))\n"
        "        connection.execute(_CLAIM, row)\n        return Claimed()\n",
        f"{_LEASE}::test_a_key_that_another_process_has_taken_meanwhile_is_not_claimed",
    ),
    # In nobody's way.
    Mutant(
        "LE1: groups lock in no order",
        "ledger/pg_writing.py",
        "sorted(range(len(statements)), key=lambda place: statements[place].locks)",
        "range(len(statements))",
        f"{_FAULTS}::test_groups_that_lock_the_same_in_another_order_dont_wait_in_a_circle",
    ),
    Mutant(
        "LE1: claims lock what has expired in no order",
        "ledger/sql_idempotency.py",
        "            if not self._ledger.shared:\n",
        "            if True:\n",
        f"{_LEASE}::test_a_claim_that_waits_holds_no_key_but_its_own",
    ),
    Mutant(
        "LE1: a deadlock refuses requests",
        "ledger/postgres.py",
        "        except Conflict:\n            written = self._written(group)\n",
        "        except ZeroDivisionError:\n            written = self._written(group)\n",
        f"{_FAULTS}::test_a_deadlock_is_tried_once_more",
    ),
    Mutant(
        "LE1: a bad end takes intents along",
        "ledger/pg_writing.py",
        "        ended = self._end_values() if self._ends else None\n",
        "        ended = (1, 2, 3) if self._ends else None\n",
        f"{_ROWS}::test_a_bad_end_costs_the_intents_beside_it_nothing[postgresql]",
    ),
    Mutant(
        "LE1: a NUL that a caller sends refuses its request",
        "ledger/pg_group.py",
        "    if _NUL in encoded:\n",
        "    if False:\n",
        f"{_ROWS}::test_what_a_caller_writes_is_kept_as_text",
    ),
    Mutant(
        "LE1: a frozen server holds everybody",
        "ledger/pg_connection.py",
        "                if not ticks:\n",
        "                if False:\n",
        f"{_FAULTS}::test_a_frozen_server_holds_nobody_for_longer_than_a_few_seconds",
        slow=True,
    ),
    Mutant(
        "LE1: a commit needn't be on disk",
        "ledger/postgres.py",
        "THEN set_config('synchronous_commit', 'on', false) END",
        "THEN 'off' END",
        f"{_FAULTS}::test_a_commit_is_on_disk_when_it_is_answered",
    ),
    Mutant(
        "a restarted server costs a request",
        "ledger/postgres.py",
        "if self._connection is not None and not self._connection.is_well():",
        "if False:",
        f"{_FAULTS}::test_a_restart_between_two_requests_is_not_noticed",
    ),
    Mutant(
        "a password is shown where its URL can't be read",
        "ledger/pg_connection.py",
        "        ) from None\n    ours",
        "        + url\n        ) from None\n    ours",
        f"{_FAULTS}::test_a_url_that_cant_be_read_is_quoted_nowhere",
    ),
    # Words.
    Mutant(
        "who was deaf for a while isn't told to look",
        "ledger/pg_listen.py",
        '            for channel in new:\n                self._call(channel, "")\n',
        "",
        f"{_WORDS}::test_after_a_lost_connection_it_listens_again_and_looks_at_everything",
    ),
    Mutant(
        "a word that is too long fails its transaction",
        "ledger/pg_listen.py",
        'return said if len(said.encode()) <= _LONGEST else ""',
        "return said",
        f"{_WORDS}::test_too_long_a_word_says_look_at_everything",
    ),
    # Runs of other processes.
    Mutant(
        "ID1: nobody waits for another process' run",
        "engine/idempotency.py",
        "while self._runs.shared and isinstance(there, Running)",
        "while False and isinstance(there, Running)",
        f"{_ELSEWHERE}::test_a_caller_elsewhere_gets_the_same_bytes_when_the_run_is_over",
    ),
    Mutant(
        "ID1: another process' run is waited for without an end",
        "engine/idempotency.py",
        " and clock.monotonic() + pause_s <= until:",
        ":",
        f"{_ELSEWHERE}::test_too_long_a_run_elsewhere_has_its_callers_come_back",
    ),
]
