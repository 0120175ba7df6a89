"""Who sees how the policies stand, and whether the numbers are true: each guard taken out once."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_AUTH = "tests/unit/gateway/test_auth.py"
_ADMIN = "tests/unit/gateway/test_admin.py"
_METRICS = "tests/unit/gateway/test_policy_metrics.py"
_CLI = "tests/e2e/test_cli_targets.py"

MUTANTS = [
    # /admin
    Mutant("IN2: any key opens /admin", "gateway/keyring.py",
           "hmac.compare_digest(sha256, self._file_admin)", "sha256",
           f"{_AUTH}::test_nothing_else_does"),
    Mutant("IN2: callers look at each other through /admin", "gateway/auth.py",
           '        if self._ring.open:\n            _check_local(headers)\n            return "local"\n',
           '        if True:\n            _check_local(headers)\n            return "local"\n',
           f"{_AUTH}::test_without_an_admin_key_callers_of_a_keyed_gateway_are_told_what_to_set"),
    Mutant("IN2: web pages read /admin", "gateway/auth.py",
           '            _check_local(headers)\n            return "local"\n', '            return "local"\n',
           f"{_AUTH}::test_without_any_key_this_machine_may_look_and_no_web_page"),
    Mutant("IN2: what is misspelt in /admin's query shows everything", "gateway/admin.py",
           "        if name not in known:\n", "        if name not in known:\n            continue\n        if False:\n",
           f"{_ADMIN}::test_what_is_wrong_is_named"),
    Mutant("/admin falls silent while the gateway drains", "gateway/http.py",
           "        if is_admin(request.path):  #", "        if is_admin(request.path) and not self._draining:  #",
           f"{_ADMIN}::test_it_is_still_told_while_it_drains"),
    # /metrics
    Mutant("A15: a caller's key opens /metrics", "gateway/keyring.py",
           "        self._admins(token, no)\n", "        self._file.get(digest(token)) or self._admins(token, no)\n",
           f"{_ADMIN}::test_who_may_scrape"),
    Mutant("A15: an admin key that was made leaves /metrics open", "gateway/keyring.py",
           "        return self._any_admin or self._file_metrics is not None\n",
           "        return (self._file_admin or self._file_metrics) is not None\n",
           "tests/unit/gateway/test_keyring.py::test_an_admin_key_opens_metrics_too_and_closes_it_to_others"),
    Mutant("A15: without a key for it anybody may scrape a gateway that has keys", "gateway/auth.py",
           "            self._ring.metrics(token)\n        elif self._ring.open:\n",
           "            self._ring.metrics(token)\n        elif True:\n",
           f"{_ADMIN}::test_who_may_scrape"),
    Mutant("A15: the metrics key opens /admin", "gateway/keyring.py",
           "        if self._file_admin is not None and hmac.compare_digest(sha256, self._file_admin):\n",
           "        if sha256 in (self._file_admin, self._file_metrics):\n",
           f"{_ADMIN}::test_the_metrics_key_opens_nothing_else"),
    Mutant("A17: the metrics key is passed on as a provider's", "gateway/brought.py",
           "        for key in (config.gateway.admin_key, config.gateway.metrics_key):\n",
           "        for key in (config.gateway.admin_key,):\n",
           "tests/unit/gateway/test_brought.py"),
    Mutant("a last scrape is refused while the gateway drains", "gateway/http.py",
           "        if request.path == _METRICS:  #", "        if request.path == _METRICS and not self._draining:  #",
           f"{_ADMIN}::test_it_is_still_told_while_it_drains"),
    Mutant("C2: breakers that routes share are counted for each", "gateway/policy_metrics.py",
           'counts["holdfast_breaker_opened"][gate.breaker, provider]', 'counts["holdfast_breaker_opened"][gate, provider]',
           f"{_METRICS}::test_policies_that_routes_share_are_counted_once"),
    Mutant("E7: a counter goes back when its target is forgotten", "gateway/policy_metrics.py",
           "self._sums[labels] = self._sums.get(labels, 0) + count - self._seen.get(owner, 0)",
           "self._sums[labels] = sum(each for (_, theirs), each in counts.items() if theirs == labels)",
           f"{_METRICS}::test_sums_are_those_of_all_that_was_ever_seen"),
    Mutant("E7: each scrape counts again", "gateway/policy_metrics.py",
           " + count - self._seen.get(owner, 0)", " + count",
           f"{_METRICS}::test_sums_are_those_of_all_that_was_ever_seen"),
    Mutant("E7: a fallback counts as a retry", "gateway/metrics.py",
           "            if target in asked:\n", "            if asked:\n",
           f"{_METRICS}::test_retries_made_and_refused"),
    Mutant("E7: refusals by the callers' rates aren't counted", "engine/rates.py",
           "        self.refused[kind, name] = self.refused.get((kind, name), 0) + 1\n", "",
           f"{_METRICS}::test_callers_rates_by_key_and_pattern"),
    Mutant("E7: nobody counts what becomes of idempotency keys", "gateway/metrics.py",
           "        app.runs.counted = self\n", "",
           f"{_METRICS}::test_what_becomes_of_idempotency_keys"),
    # holdfast targets
    Mutant("what a gateway says reaches the terminal unread", "cli/targets_view.py",
           "Text(clean(said), style=style)", "Text(said, style=style)",
           f"{_CLI}::test_names_that_a_terminal_would_obey"),
    Mutant("a gateway that ends ends who watches it", "cli/targets.py",
           "            except RemoteError as error:  # it may come back\n                trouble = str(error)\n",
           "            except RemoteError:\n                return\n",
           f"{_CLI}::test_a_gateway_that_ends_is_told_and_waited_for", slow=True),
]  # fmt: skip  # a table
