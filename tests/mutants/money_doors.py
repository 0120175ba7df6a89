"""What is told of money, to whom, and what an operator can do about it: each guard taken out once."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TREASURY = "engine/treasury.py"
_ADMIN = "gateway/admin_money.py"
_MONEY = "gateway/money_metrics.py"
_METRICS = "gateway/metrics.py"
_ROWS = "ledger/sessions.py"
_OF_ADMIN = "tests/unit/gateway/test_admin_money.py"
_OF_MONEY = "tests/unit/gateway/test_money_metrics.py"
_OF_METRICS = "tests/unit/gateway/test_metrics.py"
_OF_ROWS = "tests/unit/ledger/test_sessions.py"
_OF_DOORS = "tests/e2e/test_money_doors.py"
_OF_CLI = "tests/e2e/test_cli_budgets.py"

MUTANTS = [
    # /admin
    Mutant(
        "IN2: what is misspelt in a question about money shows everything",
        _ADMIN,
        "        if name not in known:\n",
        "        if False:\n",
        f"{_OF_ADMIN}::test_what_is_wrong_is_named",
    ),
    Mutant(
        "a budget that isn't there has spent nothing",
        _ADMIN,
        "            rules = _named(rules, budget)\n",
        "            rules = [rule for rule in rules if rule.name == budget]\n",
        f"{_OF_ADMIN}::TestBudgets::test_a_budget_that_isnt_there_is_named_with_its_neighbour",
    ),
    Mutant(
        "any number of subjects in one answer",
        _ADMIN,
        "for share, account in found[:_MOST]]",
        "for share, account in found]",
        f"{_OF_ADMIN}::TestBudgets::test_there_may_be_very_many",
    ),
    Mutant(
        "what is set aside counts as left",
        _ADMIN,
        "max(0, rule.limit - spent - account.taken)",
        "max(0, rule.limit - spent)",
        f"{_OF_ADMIN}::TestBudgets::test_what_is_set_aside_is_told_while_the_request_runs",
    ),
    Mutant(
        "D11: an ended session is only shown as ended",
        _ADMIN,
        "    session = await _desk(treasury).end(key, session_id)\n",
        "    session = _desk(treasury).sessions.get(key, session_id)\n",
        f"{_OF_ADMIN}::TestSessions::test_its_end_is_for_good",
    ),
    Mutant(
        "D2: a reset is forgotten by the next start",
        _TREASURY,
        "            await self.ledger.forget_spending(account.key)\n",
        "            pass\n",
        f"{_OF_ADMIN}::TestCostBreaker::test_it_is_told_and_reset",
    ),
    Mutant(
        "D2: a reset that can't be written down counts",
        _TREASURY,
        "        if self.leases is None:\n            await self.ledger.forget_spending(account.key)\n",
        "        self._forgotten(account.key)\n"
        "        if self.leases is None:\n            await self.ledger.forget_spending(account.key)\n",
        f"{_OF_ADMIN}::TestCostBreaker::test_what_cannot_be_made_durable_is_not_done",
    ),
    # /metrics
    Mutant(
        "D6: money is told as a binary fraction of a nano-dollar",
        _METRICS,
        "amount / scale)",
        "amount * (1 / scale))",
        f"{_OF_METRICS}::test_money_is_told_to_the_nano_dollar",
    ),
    Mutant(
        "D6: a model is called as its caller called it",
        _METRICS,
        'found["name"].removeprefix(f"{provider.lower()}/")',
        "str(price_id)",
        f"{_OF_METRICS}::test_a_model_is_called_as_its_price_is",
    ),
    Mutant(
        "D6: any number of models have labels of their own",
        _METRICS,
        "if labels not in self._named and len(self._named) >= _MOST_MODELS:",
        "if False:",
        f"{_OF_METRICS}::test_models_beyond_the_first_256_are_other",
    ),
    Mutant(
        "D6: tokens that nobody believes are counted",
        _METRICS,
        ' is not None and row.billed == "provider":',
        " is not None:",
        f"{_OF_METRICS}::test_a_usage_that_cant_be_believed_is_flagged_and_adds_no_tokens",
    ),
    Mutant(
        "D6: each key's own budget is a label",
        _MONEY,
        "return name if name in self._named else _OF_KEYS",
        "return name or _OF_KEYS",
        f"{_OF_MONEY}::test_keys_own_budgets_are_one_series",
    ),
    Mutant(
        "D6: the emptiest subject shows",
        _MONEY,
        "shares[name] = max(share_of(account, now_ns), shares.get(name, 0.0))",
        "shares[name] = share_of(account, now_ns)",
        f"{_OF_MONEY}::test_the_fullest_subject_shows",
    ),
    Mutant(
        "D6: what is set aside is no use of a budget",
        _MONEY,
        "account.spent(now_ns) + account.taken, account.rule.limit",
        "account.spent(now_ns), account.rule.limit",
        f"{_OF_MONEY}::test_what_is_set_aside_counts_while_it_is",
    ),
    # rows of sessions
    Mutant(
        "D4: a session gets more time each time that it is written",
        _ROWS,
        "    ended_ns = CASE WHEN",
        "    ends_ns = excluded.ends_ns, ended_ns = CASE WHEN",
        f"{_OF_ROWS}::test_what_is_put_again_is_brought_up_to_date_and_keeps_its_time",
    ),
    Mutant(
        "D11: an ended session is active after a restart",
        _ROWS,
        "WHERE ends_ns > ? AND state IN ('active', 'exhausted') ORDER BY ends_ns",
        "WHERE ends_ns > ? ORDER BY ends_ns",
        f"{_OF_ROWS}::test_active_are_those_that_nobody_has_ended_in_the_order_of_their_ends",
    ),
    Mutant(
        "D1: a restart gives an exhausted session its money again",
        _ROWS,
        "state IN ('active', 'exhausted')",
        "state = 'active'",
        f"{_OF_DOORS}::TestAdmin::test_an_exhausted_session_stays_so",
    ),
    Mutant(
        "D1: what an exhausted session spent isn't counted after a restart",
        "app.py",
        "usable = (SessionState.ACTIVE, SessionState.EXHAUSTED)",
        "usable = (SessionState.ACTIVE,)",
        f"{_OF_DOORS}::TestAdmin::test_an_exhausted_session_stays_so",
    ),
    # the command line
    Mutant(
        "what says that it is a gateway is believed",
        "cli/money_view.py",
        "    except (msgspec.DecodeError, RecursionError):\n",
        "    except RecursionError:\n",
        f"{_OF_CLI}::TestWrong::test_something_else_answers",
    ),
    Mutant(
        "a budget's unreadable limit ends the check",
        "config/budgets.py",
        " or (table.limit_usd is None and table.limit_tokens is None):",
        ":",
        "tests/unit/config/test_budgets.py::test_what_is_wrong_is_named_and_nothing_crashes",
    ),
]
