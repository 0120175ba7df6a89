"""What becomes of each control while something that a gateway hangs on is lost: one table.

``/health/ready`` reads it, the documentation is made from it, and each row names the tests that show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TABLE", "WEAKER", "Row"]

Lost: TypeAlias = Literal["redis", "postgresql", "sqlite", "process"]

_NAMES: Final[Mapping[Lost, str]] = {"redis": "redis", "postgresql": "ledger", "sqlite": "ledger"}
"""As ``/health/ready`` calls them. A process can't tell that it is gone."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One control under one kind of loss."""

    lost: Lost
    faults: tuple[str, ...]
    """The ways of losing it that have these consequences."""
    control: str
    meanwhile: str
    """What it does while that is lost."""
    shows: str
    """Where one sees it from outside."""
    heals: str
    """What happens when it is back; nothing of it needs anybody."""
    weaker: str = ""
    """What holds less meanwhile, in a few words, as ``/health/ready`` says it; empty: the same as ever."""
    shown_by: tuple[str, ...]
    """Tests, as pytest names them."""


class _Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What all controls have in common under one kind of loss."""

    lost: Lost
    faults: tuple[str, ...]
    shows: str
    heals: str
    shown_by: tuple[str, ...]

    def row(
        self,
        control: str,
        meanwhile: str,
        *,
        shows: str = "",
        heals: str = "",
        weaker: str = "",
        shown_by: tuple[str, ...] = (),
    ) -> Row:
        return Row(
            lost=self.lost,
            faults=self.faults,
            control=control,
            meanwhile=meanwhile,
            shows=shows or self.shows,
            heals=heals or self.heals,
            weaker=weaker,
            shown_by=shown_by or self.shown_by,
        )


_E2E: Final = "tests/e2e/test_degraded.py"
_BREAKERS: Final = "tests/unit/stores/test_breakers_on_redis.py"
_LEASES: Final = "tests/unit/ledger/test_pg_lease.py"
_WORKERS: Final = "tests/unit/gateway/test_workers.py"

_REDIS: Final = _Loss(
    lost="redis",
    faults=("killed", "frozen", "partitioned", "read-only", "full"),
    shows="`/health/ready` stays 200 and says `redis` isn't `ok`; `holdfast_dependency_up` 0; log `redis_lost`, then "
    "`redis_healed`",
    heals="tried again after 0.5 s, 1 s, 2 s, then every 5 s, beside the requests; what each process knows is written back "
    "first",
    shown_by=tuple(
        f"{_E2E}::test_lost[redis-{fault}]"
        for fault in ("killed", "frozen", "partitioned", "read-only", "without-replicas", "full")
    ),
)
_EMPTIED: Final = _Loss(
    lost="redis",
    faults=("emptied",),
    shows="log `redis_lost` (it has forgotten what it knew), then `redis_healed`",
    heals="at once: the first script that finds another epoch has everybody write back what they know",
    shown_by=(f"{_E2E}::test_redis_emptied",),
)
_POSTGRESQL: Final = _Loss(
    lost="postgresql",
    faults=("killed", "stopped", "frozen", "disk full", "read-only"),
    shows="`/health/ready` 503 with the reason; `holdfast_ledger_ok` and `holdfast_dependency_up` 0; log `ledger_lost`, "
    "then `ledger_healed`",
    heals="the writer tries again each second, on a new connection",
    shown_by=tuple(
        f"{_E2E}::test_lost[postgresql-{fault}]"
        for fault in ("killed", "stopped", "frozen", "disk-full", "read-only")
    ),
)
_COMMIT: Final = _Loss(
    lost="postgresql",
    faults=("connection cut in a commit",),
    shows="503 `ledger_unavailable` for those whose intents were in it; log `ledger_lost`, then `ledger_healed`",
    heals="with the next group, on a new connection",
    shown_by=(f"{_E2E}::test_postgresql_cut_in_the_commit",),
)
_SQLITE: Final = _Loss(
    lost="sqlite",
    faults=("locked", "disk full"),
    shows=_POSTGRESQL.shows,
    heals="the writer tries again each second",
    shown_by=(f"{_E2E}::test_sqlite[locked]", f"{_E2E}::test_sqlite[disk-full]"),
)
_KILLED: Final = _Loss(
    lost="process",
    faults=("killed",),
    shows="its connections break; of several workers: log `a worker died`",
    heals="on SQLite by the next start; on PostgreSQL by any other process when its lease is over, after 30 s at most",
    shown_by=(f"{_LEASES}::test_what_a_dead_process_left_open_is_unknown_and_costs_its_bound",),
)
_FROZEN: Final = _Loss(
    lost="process",
    faults=("frozen for longer than its lease",),
    shows="503 `ledger_unavailable` for what it was about to begin",
    heals="when it goes on it finds itself given up, and begins anew under another id",
    shown_by=(f"{_LEASES}::test_who_was_only_frozen_is_fenced_off_until_nobody_relies_on_its_name",),
)

_NO_REQUEST: Final = "no request is taken: nothing is sent that isn't written down"

TABLE: Final[tuple[Row, ...]] = (
    _REDIS.row("requests", "are served. At most 50 ms of one go to Redis, and none once the loss is known"),
    _REDIS.row("budgets", "hold as ever: Redis has no part in them"),
    _REDIS.row(
        "rate limits",
        "each process admits by its own count: the limit, divided by how many processes live. At most twice the limit in "
        "windows in which Redis was lost or healing",
        shows="`x-holdfast-degraded: redis` on every answer that a rate limit judged alone; and as above",
        weaker="rate limits: each process admits its share of them",
        shown_by=(*_REDIS.shown_by, "tests/reliability/test_shared_rates.py::test_under_load"),
    ),
    _REDIS.row(
        "breakers",
        "each process opens and closes by what it sees itself",
        heals="everybody tells what was decided; the highest number holds",
        weaker="breakers and adaptive limits: each process goes by what it has seen itself",
        shown_by=(f"{_BREAKERS}::test_a_killed_redis_is_told_what_happened_without_it",),
    ),
    _REDIS.row(
        "probes",
        "none is sent for 2 s; then each process has its own",
        heals="probes that are out are told before anybody may send another",
        shown_by=(
            f"{_BREAKERS}::test_a_frozen_redis_costs_nobody_more_than_its_allowance_and_lets_no_more_probes_out",
        ),
    ),
    _REDIS.row(
        "adaptive limits",
        "go on as they are; a new one begins with slow start",
        weaker="breakers and adaptive limits: each process goes by what it has seen itself",
        shown_by=(
            "tests/unit/engine/test_shared_limits.py::test_without_others_or_without_the_store_it_is_slow_start",
        ),
    ),
    _EMPTIED.row("requests", "are served, and don't notice"),
    _EMPTIED.row("budgets", "hold as ever"),
    _EMPTIED.row(
        "rate limits",
        "what each process admitted is written back: at most twice the limit in windows around it",
    ),
    _EMPTIED.row(
        "probes",
        "no new one for a second, in which all tell what is out",
        shown_by=(f"{_BREAKERS}::test_an_emptied_redis_learns_what_is_out_before_it_lets_anybody_else_out",),
    ),
    _POSTGRESQL.row(
        "requests",
        "new ones get a 503 `ledger_unavailable` with Retry-After, at once, or after some seconds where the server takes "
        "connections and doesn't answer; nothing of them is sent. What runs is finished",
        weaker=_NO_REQUEST,
    ),
    _POSTGRESQL.row(
        "ends of requests",
        "wait in memory, up to 100,000; beyond that no request is taken",
        shows="`holdfast_ledger_queued`; and as above",
        heals="are written with the next group, each once",
    ),
    _POSTGRESQL.row("budgets", "hold: what runs was set aside before, and nothing more is leased"),
    _POSTGRESQL.row(
        "idempotency keys",
        "a run that is under way is finished, and told to those who wait for it; a new one gets the 503",
        heals="its answer is stored then, and told again from there",
    ),
    _POSTGRESQL.row(
        "callers' keys",
        "count as they were read last; a key that is revoked here counts at once. Changes are refused",
        shows="`holdfast_keys_age_seconds` grows; a log line once",
        heals="all are read again",
        shown_by=(
            "tests/integration/test_keys_shared.py::"
            "test_a_lost_database_leaves_the_last_known_keys_and_a_revocation_here_counts",
        ),
    ),
    _POSTGRESQL.row("metrics", "go on"),
    _COMMIT.row(
        "requests",
        "nobody knows whether their intents are durable: nothing of them is sent, and those that are there are closed as "
        "`failed`, at no cost",
    ),
    _COMMIT.row("budgets", "hold: what was set aside for them is free again", shown_by=_COMMIT.shown_by),
    _SQLITE.row(
        "requests",
        "new ones get a 503 `ledger_unavailable` with Retry-After (where it is locked: after `busy_timeout_s`); nothing of "
        "them is sent. What runs is finished",
        weaker=_NO_REQUEST,
    ),
    _SQLITE.row(
        "ends of requests",
        "wait in memory, up to 100,000; beyond that no request is taken",
        shows="`holdfast_ledger_queued`; and as above",
        heals="are written with the next group, each once",
    ),
    _SQLITE.row("budgets", "hold: they are counted in the process"),
    _KILLED.row("requests", "that it served are cut; the other processes go on"),
    _KILLED.row(
        "ends of requests",
        "those that weren't written are lost: `unknown`, at their upper bounds",
        shown_by=(*_KILLED.shown_by, "tests/crash/test_loop.py"),
    ),
    _KILLED.row(
        "budgets",
        "what it had leased is held until then",
        heals="its open requests are charged at their bounds, and its leases are free, in one transaction",
        shown_by=(
            "tests/integration/test_shared_budgets.py::"
            "test_a_dead_process_is_charged_its_bounds_and_its_block_is_the_others",
        ),
    ),
    _KILLED.row(
        "probes",
        "its places are taken until their leases lapse, after `half_open_s` (at least 3 s)",
        heals="others get them",
        shown_by=("tests/unit/engine/test_shared_breakers.py",),
    ),
    _KILLED.row(
        "metrics",
        "of a worker: what it counted stays, but for the last second",
        heals="another worker takes its place",
        shown_by=("tests/e2e/test_workers.py::test_two_serve_as_one_and_what_one_counted_outlives_it",),
    ),
    _FROZEN.row("requests", "nothing is begun in a name that others have given up"),
    _FROZEN.row(
        "ends of requests",
        "that come after all replace the guess, and are marked `late`",
        shown_by=(f"{_LEASES}::test_ends_that_race_with_recovery_are_charged_once",),
    ),
    _FROZEN.row(
        "budgets",
        "what it had leased is gone at once; it leases anew",
        shown_by=("tests/integration/test_shared_budgets.py::test_who_was_given_up_leases_nothing",),
    ),
    _FROZEN.row(
        "metrics",
        "of a worker: it counts with what it told last",
        shown_by=(f"{_WORKERS}::test_who_does_not_answer_counts_with_what_it_said_last",),
    ),
)


def _weaker() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for row in TABLE:
        if row.weaker:
            found.setdefault(_NAMES[row.lost], {})[row.weaker] = None
    return {name: tuple(said) for name, said in found.items()}


WEAKER: Final = _weaker()
"""What holds less while it is lost, by the names that ``/health/ready`` has for them."""
