"""Several processes: configured, started, watched, ended, counted. Each guard taken out once."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_URL = "config/server_url.py"
_SHARING = "config/sharing.py"
_CLUSTER = "cluster.py"
_SUPERVISOR = "gateway/workers.py"
_PORT = "gateway/workers_port.py"
_LINK = "gateway/workers_link.py"
_CREW = "gateway/workers_crew.py"
_SUMS = "gateway/workers_sums.py"
_RESTARTS = "gateway/workers_restarts.py"
_DEPENDENCIES = "gateway/dependencies.py"
_OF_URL = "tests/unit/config/test_server_url.py"
_OF_CLUSTER = "tests/integration/test_cluster.py"
_OF_SUPERVISOR = "tests/unit/gateway/test_workers.py"
_OF_LINK = "tests/unit/gateway/test_workers_link.py"
_OF_SUMS = "tests/unit/gateway/test_workers_sums.py"
_OF_RESTARTS = "tests/unit/gateway/test_workers_restarts.py"
_OF_DEPENDENCIES = "tests/unit/gateway/test_dependencies.py"

MUTANTS = [
    # starts
    Mutant(
        "LE1: a start that is cancelled keeps the ledger",
        "app.py",
        "            undo.push_async_callback(app.aclose)\n",
        "",
        "tests/unit/test_app.py::test_a_start_that_is_cancelled_gives_the_ledger_back",
    ),
    # addresses
    Mutant(
        "OP3: an address shows its password",
        _URL,
        "        made = super().__new__(cls, _shown(url))\n",
        "        made = super().__new__(cls, url)\n",
        f"{_OF_URL}::test_a_database_is_shown_without_its_password",
    ),
    Mutant(
        "OP3: a password in an address' parameters shows",
        _URL,
        'return _PASSWORD.sub(rf"\\g<1>{_MASK}", f"{scheme}{mark}{masked}{slash}{after}")',
        'return f"{scheme}{mark}{masked}{slash}{after}"',
        f"{_OF_URL}::test_a_database_is_shown_without_its_password",
    ),
    Mutant(
        "OP3: half a password that isn't encoded is taken for a database's name, and shows",
        _URL,
        '    if "@" in database:\n',
        "    if False:\n",
        f"{_OF_URL}::test_what_is_no_database_is_refused",
    ),
    Mutant(
        "another password is no change",
        _URL,
        "return self._secret == other._secret if isinstance(other, ServerUrl) else str.__eq__(self, other)",
        "return str.__eq__(self, other)",
        f"{_OF_URL}::test_another_password_is_another_address",
    ),
    # what is refused
    Mutant(
        "several processes write one SQLite file",
        _SHARING,
        "    if gateway.workers > 1 and not config.ledger.shared:\n",
        "    if False:\n",
        f"{_OF_URL}::TestSeveralProcesses::test_are_not_sqlites",
    ),
    Mutant(
        "RL1, CB2: several processes limit what they can't limit together",
        _SHARING,
        "    elif gateway.workers > 1 and redis.url is None and (needs := needs_redis(config)):\n",
        "    elif False and (needs := needs_redis(config)):\n",
        f"{_OF_URL}::TestSeveralProcesses::test_need_redis_for_what_they_limit_together",
    ),
    Mutant(
        "RL1, CB2: a second process beside a first, without Redis",
        _CLUSTER,
        "            if first.setdefault(owner, renewed_ns) != renewed_ns or connected:\n",
        "            if False:\n",
        f"{_OF_CLUSTER}::test_an_elder_that_is_back_is_refused_at_its_next_renewal",
    ),
    Mutant(
        "who died without a word keeps the next one out",
        _CLUSTER,
        "!= renewed_ns or connected:",
        "!= renewed_ns or True:",
        f"{_OF_CLUSTER}::test_an_elder_that_died_is_waited_for",
    ),
    Mutant(
        "of two processes that start at once none may stay",
        _CLUSTER,
        "ON (other.started_ns, other.id) < (me.started_ns, me.id)",
        "ON other.id <> me.id",
        f"{_OF_CLUSTER}::test_a_living_elder_is_refused_by_who_came_later_alone",
    ),
    # the supervisor
    Mutant(
        "OP1: a worker that died isn't replaced",
        _SUPERVISOR,
        "            pause_s = restarts.died(lived_s=loop.time() - began)\n",
        "            return\n",
        f"{_OF_SUPERVISOR}::test_a_worker_that_dies_is_replaced_and_the_other_goes_on",
        slow=True,
    ),
    Mutant(
        "OP1: a worker that doesn't end is waited for, for ever",
        _SUPERVISOR,
        "                worker.signal(signal.SIGKILL)\n                await ended\n",
        "                await ended\n",
        f"{_OF_SUPERVISOR}::test_a_worker_that_does_not_drain_in_time_is_killed_and_the_end_is_not_clean",
        slow=True,
    ),
    Mutant(
        "OP1: an end that wasn't in order looks like one that was",
        _SUPERVISOR,
        "            self._unclean = True\n",
        "            pass\n",
        f"{_OF_SUPERVISOR}::test_a_worker_that_ends_badly_makes_the_end_unclean",
    ),
    Mutant(
        "some workers serve, and the others can't",
        _SUPERVISOR,
        "                self._fail(how)\n                return\n",
        "                return\n",
        f"{_OF_SUPERVISOR}::test_a_start_that_fails_is_told_in_the_workers_words_and_ends_the_others",
        slow=True,
    ),
    Mutant(
        "workers are announced before they serve",
        _SUPERVISOR,
        "elif serving == self._begin.workers and not",
        "elif not",
        f"{_OF_SUPERVISOR}::test_a_start_that_fails_is_told_in_the_workers_words_and_ends_the_others",
        slow=True,
    ),
    Mutant(
        "OP2: a worker that is started later serves what was there at the start",
        _SUPERVISOR,
        "            self._text, self._drain_s = read.text, read.drain_s\n",
        "            self._drain_s = read.drain_s\n",
        f"{_OF_SUPERVISOR}::test_what_cannot_be_served_is_not_begun_with_again",
        slow=True,
    ),
    Mutant(
        "OP2: a file that a worker can't start with keeps them away one by one",
        _SUPERVISOR,
        "                self._text = self._good  # it may read well, and be wrong all the same\n",
        "                pass\n",
        f"{_OF_SUPERVISOR}::test_what_cannot_be_served_is_not_begun_with_again",
        slow=True,
    ),
    Mutant(
        "OP2: a reload reaches one worker",
        _SUPERVISOR,
        "            if worker.serving:\n                worker.reload(self._reloads)\n",
        "            if worker.serving and worker.place == 1:\n                worker.reload(self._reloads)\n",
        f"{_OF_SUPERVISOR}::test_a_reload_reaches_each_and_a_later_worker_begins_with_the_new_text",
        slow=True,
    ),
    Mutant(
        "two gateways take one port, and nobody notices",
        _PORT,
        "        if port:  # another gateway",
        "        if False:  # another gateway",
        f"{_OF_SUPERVISOR}::TestPort::test_is_shared_with_its_workers_and_nobody_else",
    ),
    Mutant(
        "who dies young is started again without a pause",
        _RESTARTS,
        "        return min(",
        "        return 0 * min(",
        f"{_OF_RESTARTS}::test_who_dies_young_is_waited_for_ever_longer",
    ),
    Mutant(
        "workers outlive their supervisor, and nobody can end them in order",
        _CREW,
        "        os.kill(os.getpid(), signal.SIGTERM)",
        "        _ = (os.getpid(), signal.SIGTERM)",
        f"{_OF_LINK}::TestCrew::test_a_supervisor_that_is_gone_is_told_to_this_process_as_sigterm",
        slow=True,
    ),
    Mutant(
        "who doesn't read fills the memory of who writes",
        _LINK,
        "        if transport.get_write_buffer_size() > LARGEST:\n",
        "        if False:\n",
        f"{_OF_LINK}::test_who_does_not_read_is_given_up_before_memory_is",
        slow=True,
    ),
    # the numbers
    Mutant(
        "what a dead worker counted is gone",
        _SUMS,
        "        if last is not None:\n            self._gone",
        "        if False:\n            self._gone",
        f"{_OF_SUMS}::test_what_the_dead_counted_stays_and_their_levels_go",
    ),
    Mutant(
        "a dead worker's requests are in flight for ever",
        _SUMS,
        "[family for family in last if family.kind in _GROWS]",
        "last",
        f"{_OF_SUMS}::test_what_the_dead_counted_stays_and_their_levels_go",
    ),
    Mutant(
        "the ledger is lost in one worker, and the sum says that it is there",
        _SUMS,
        '    "holdfast_ledger_ok": "min",\n',
        '    "holdfast_ledger_ok": "sum",\n',
        f"{_OF_SUMS}::test_a_level_means_what_the_table_says",
    ),
    Mutant(
        "a scrape is answered with what was told before",
        _SUPERVISOR,
        "        if asked:\n            await asyncio.wait(asked, timeout=_ASK_S)\n",
        "        del asked\n",
        f"{_OF_SUPERVISOR}::test_numbers_are_everyones_as_they_are_now",
    ),
    Mutant(
        "a scrape waits for a worker that hangs, for ever",
        _SUPERVISOR,
        "await asyncio.wait(asked, timeout=_ASK_S)",
        "await asyncio.wait(asked)",
        f"{_OF_SUPERVISOR}::test_who_does_not_answer_counts_with_what_it_said_last",
        slow=True,
    ),
    Mutant(
        "a scrape shows one worker's numbers when the others' can't be had",
        _CREW,
        "            raise HoldfastError(said, status=503) from None\n",
        "            return self._count()\n",
        f"{_OF_LINK}::TestCrew::test_a_scrape_without_an_answer_says_so_and_tells_no_part",
    ),
    Mutant(
        "a worker tells nothing by itself, so that a kill takes all it counted",
        _CREW,
        "            if now != self._told:\n",
        "            if False:\n",
        f"{_OF_LINK}::TestCrew::test_it_tells_by_itself_what_is_new",
        slow=True,
    ),
    Mutant(
        "a worker's last numbers are lost when it ends in order",
        _CREW,
        "        self._link.send(Counted(self._count()))\n",
        "",
        f"{_OF_LINK}::TestCrew::test_it_tells_when_asked_and_when_it_leaves",
    ),
    # health
    Mutant(
        "what holds less isn't told",
        _DEPENDENCIES,
        "            weaker=() if look.ok else WEAKER.get(name, ()),\n",
        "            weaker=(),\n",
        f"{_OF_DEPENDENCIES}::test_since_when_it_stands_so_is_remembered",
    ),
    Mutant(
        "a loss begins when somebody asks",
        _DEPENDENCIES,
        "        for name in self._watched:\n            self._see(name)\n",
        "",
        f"{_OF_DEPENDENCIES}::test_it_looks_by_itself_so_that_a_loss_is_dated_before_anybody_asks",
    ),
]
