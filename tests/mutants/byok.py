"""Bring your own key: whose key goes where, who hears of it, and what keeps it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_BYOK = "tests/property_tests/llm/test_byok_handler_invariants.py::TestBYOKKeyInvariants"
_TENANTS = "tests/unit/test_tenants.py"
_DOOR = "tests/unit/gateway/test_own_keys.py"
_BROUGHT = "tests/unit/gateway/test_brought.py"
_ADMIN = "tests/unit/gateway/test_admin_provider_keys.py"
_KEPT = "tests/unit/test_provider_keys.py"
_SEALING = "tests/unit/test_sealing.py"
_STORE = "tests/unit/ledger/test_provider_keys.py"

MUTANTS = [
    # Whose key
    Mutant("A17: who has no key of its own gets the shared one all the same", "config/own_view.py",
           "        elif own_only and shares_a_key(provider):", "        elif False and shares_a_key(provider):",
           f"{_BYOK}::test_a_tenants_key_serves_no_other"),
    Mutant("A17: a tenant's requests go out with the shared key", "engine/engine.py",
           "        if call.wallet is not None and (own :=", "        if False and (own :=",
           f"{_DOOR}::TestPassedOver::test_in_a_chain_each_is_asked_with_its_own"),
    Mutant("A17: tenants with keys of their own see each other's", "tenants.py",
           'place = (name if own else "", own_only, brought)', 'place = ("" if own else "-", own_only, brought)',
           f"{_BYOK}::test_a_tenants_key_serves_no_other"),
    Mutant("A17: a key that was replaced goes on", "tenants.py",
           "        self._views.clear()\n", "",
           f"{_TENANTS}::TestKept::test_one_counts_from_the_next_request_on_and_what_began_goes_on"),
    Mutant("A17: a caller's key goes to every provider that takes one", "tenants.py",
           "given[name] = (way, left.pop(way))", "given[name] = (way, left[way])",
           f"{_TENANTS}::TestCallersKeys::test_which_provider_gets_which_key"),
    Mutant("A17: a caller's key goes to who speaks another dialect, too", "tenants.py",
           "    if not given:  # asked", "    for name in [name for name in names if name not in given]:\n"
           "        given[name] = (ways[name], next(iter(brought.values())))\n    if not given:  # asked",
           f"{_BYOK}::test_a_tenants_key_serves_no_other"),
    Mutant("A17: what says who pays goes with another's key", "engine/endpoint.py",
           "if header[0] not in _OF_A_KEY]", "if True]",
           f"{_TENANTS}::TestOwnKeys::test_nothing_of_ours_that_says_who_pays_goes_with_anothers_key"),
    Mutant("A14: a provider is configured for a tenant whose caller brought no key", "config/own_view.py",
           "_as_one(provider, CALLERS, provider.home, usable=brought)", "_as_one(provider, CALLERS, provider.home)",
           f"{_BYOK}::test_a_provider_is_configured_for_who_has_its_key"),
    Mutant("A17: a target that was passed over is on no record", "tenants.py",
           "        if lacking:\n            resolved = replace(", "        if False:\n            resolved = replace(",
           f"{_DOOR}::TestPassedOver::test_who_it_has_no_key_to_is_recorded_and_the_next_one_asked"),
    # Which headers are whose
    Mutant("OP3: the gateway's own key is passed through to a provider", "gateway/brought.py",
           "        if needed and GATEWAY_KEY not in headers:", "        if False:",
           f"{_BROUGHT}::test_where_a_key_of_ours_is_needed_the_usual_headers_carry_it"),
    Mutant("OP3: another of the gateway's keys is passed through to a provider", "gateway/brought.py",
           "            and sha256(token).digest() not in self._ours\n", "",
           f"{_BROUGHT}::test_what_is_ours_or_none_is_never_a_providers"),
    Mutant("IN2: who sends a wrong key of ours is let in by a provider's", "gateway/auth.py",
           '    if token := headers.get(GATEWAY_KEY, b"").strip():\n        return token',
           '    if token := b"":\n        return token',
           f"{_DOOR}::TestBroughtAlong::test_where_callers_need_keys_ours_comes_in_a_header_of_its_own"),
    Mutant("ID2: an answer is told again to who comes with another key of their own", "gateway/door.py",
           "            *_own_keys(request, call),\n", "",
           f"{_DOOR}::TestBroughtAlong::test_an_answer_isnt_told_again_to_who_comes_with_another_key"),
    # What is said
    Mutant("A17: the caller's own refused key is told as if it were ours", "engine/attempt.py",
           'if endpoint.key_of == "shared":', "if True:",
           f"{_DOOR}::TestRefusedKeys::test_the_callers_own_is_told_as_the_provider_said_it"),
    Mutant("OP3: the provider's words on our refused key are told", "engine/attempt.py",
           'if endpoint.key_of == "shared":', "if False:",
           f"{_DOOR}::TestRefusedKeys::test_ours_isnt"),
    Mutant("OP3: a key of one's own that the provider quotes is told on", "engine/endpoint.py",
           "secrets=(*self.secrets, key),", "secrets=self.secrets,",
           f"{_DOOR}::TestRefusedKeys::test_what_the_provider_quotes_of_it_isnt_told"),
    # State
    Mutant("BH1: one caller's key shares its limits with all others'", "tenants.py",
           "return f\"{CALLERS}:{hmac.digest(self._kept_keys.pepper, key.reveal().encode(), 'sha256').hex()[:12]}\"",
           "return CALLERS",
           f"{_DOOR}::TestState::test_the_limit_that_a_provider_tells_one_key_holds_for_that_one"),
    Mutant("IN2: callers who invent keys fill the memory with gates", "engine/gates.py",
           'whose = "@*" if target.deployment.startswith("@") else target.deployment', "whose = target.deployment",
           f"{_DOOR}::TestState::test_strangers_keys_are_bounded"),
    # What is kept
    Mutant("OP3: a sealed key opens for another tenant", "sealing.py",
           "return msgspec.json.encode([_PURPOSE, *about])", "return msgspec.json.encode([_PURPOSE])",
           f"{_SEALING}::test_about_anything_else_it_doesnt_open"),
    Mutant("A17: a sealed key goes to an address that was changed", "provider_keys.py",
           "row.tenant, row.provider, row.base_url)\n    except TypeError",
           "row.tenant, row.provider, None)\n    except TypeError",
           f"{_KEPT}::TestStart::test_what_was_changed_or_moved_serves_nobody_and_the_rest_goes_on"),
    Mutant("a gateway starts that can't open what is kept", "provider_keys.py",
           "    if rows and sealer is None:", "    if False:",
           f"{_KEPT}::TestStart::test_without_a_master_key_it_doesnt"),
    Mutant("a removed key serves on where the disk is full", "provider_keys.py",
           "        self._tenants.drop(*place)\n        if place in self._rows:", "        if place in self._rows:",
           f"{_KEPT}::TestSet::test_what_is_removed_serves_nobody_though_that_cant_be_written"),
    Mutant("sealing anew brings an old key back", "ledger/sql_provider_keys.py",
           "WHERE tenant = ? AND provider = ? AND sealed = ?", "WHERE tenant = ? AND provider = ? AND ? IS NOT NULL",
           f"{_STORE}::test_sqlite"),
    Mutant("IN2: a caller sets keys", "gateway/admin.py",
           "        who = self._keeper.admit(request.headers)\n        if is_provider_keys",
           '        who = "anybody" if is_provider_keys(request.path) else self._keeper.admit(request.headers)\n'
           "        if is_provider_keys",
           f"{_ADMIN}::test_only_admins_are_let_in"),
]  # fmt: skip  # a table
