"""Mutants of where tokens are asked for: the command line, the gateway, the library."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TALLY = "gateway/tally.py"
_E2E = "tests/e2e/test_count_tokens.py"
_OURS = f"{_E2E}::TestOurs"
_THEIRS = f"{_E2E}::TestTheirs"
_TALLIED = "tests/unit/gateway/test_tally.py"
_CLI = "tests/e2e/test_cli_tokens.py"
_LIBRARY = "tests/unit/client/test_counting.py"

MUTANTS = [
    # The gateway.
    Mutant("TK1: a bound is told of what can't be seen", _TALLY,
           "        if not count.unseen:", "        if True:",
           f"{_OURS}::test_no_bound_is_told_where_something_cannot_be_seen"),
    Mutant("TK1: the guess is told as the bound", _TALLY,
           'b"%d" % count.upper', 'b"%d" % count.tokens',
           f"{_OURS}::test_anthropics_sdk_gets_the_count_of_the_routes_model"),
    Mutant("A9: a target that counts isn't asked", _TALLY,
           "        self.native = native is not None\n", "        self.native = False\n",
           f"{_THEIRS}::test_a_target_that_counts_is_asked"),
    Mutant("A9: a target that is down fails the count", _TALLY,
           "            if kept_out or isinstance(error, _CALLERS_OWN):\n", "            if True:\n",
           f"{_THEIRS}::test_where_it_is_down_the_gateway_counts"),
    Mutant("A9: a wrong question gets a number", _TALLY,
           "            if kept_out or isinstance(error, _CALLERS_OWN):\n", "            if kept_out:\n",
           f"{_THEIRS}::test_what_the_caller_got_wrong_is_told_and_not_counted"),
    Mutant("A9: counts of the gateway's pass by rate limits", _TALLY,
           "        if engine.admission is None:\n", "        if True:\n",
           f"{_E2E}::test_rate_limits_hold_for_counts_as_well"),
    Mutant("A9: a counted request gives its place in the rate back", _TALLY,
           'ticket.settle(End(id=call.id, ended_ns=engine.clock.wall_ns(), state="ok"))', "ticket.settle(None)",
           f"{_E2E}::test_rate_limits_hold_for_counts_as_well"),
    Mutant("A9: what was counted once takes a place for ever", _TALLY,
           "        self._tallies.room.release()\n", "",
           f"{_TALLIED}::test_as_many_as_may_be_are_counted_at_once_and_then_the_next", slow=True),
    Mutant("A9: large bodies are counted on the loop", _TALLY,
           "asyncio.ensure_future(asyncio.to_thread(_read_and_count, dialect, self._call, target))",
           "asyncio.ensure_future(asyncio.sleep(0, _read_and_count(dialect, self._call, target)))",
           f"{_TALLIED}::test_the_loop_goes_on_while_a_large_one_is_counted"),
    Mutant("A9: of Google's whole request only the shell is counted", "dialects/count_tokens.py",
           "        return super().neutral(replace(envelope, fields=_raw_fields(envelope.fields[place])))\n",
           "        return super().neutral(envelope)\n",
           f"{_OURS}::test_a_whole_request_of_googles_is_counted_whole"),
    # The library.
    Mutant("A9: a name that nobody knows is counted as anything", "client/counting.py",
           "        if counter_for(model) is OTHERS.counter(model):\n            raise\n", "        pass\n",
           f"{_LIBRARY}::test_a_name_that_nobody_knows_is_said_and_not_guessed"),
    Mutant("A9: tools aren't counted", "client/counting.py",
           "if isinstance(messages, str) and tools is None and response_format is None:", "if isinstance(messages, str):",
           f"{_LIBRARY}::test_with_tools_a_text_is_a_prompt"),
    # The command line.
    Mutant("A9: a pipe that never ends fills the memory", "cli/tokens_input.py",
           "    if len(data) > MOST_BYTES:\n", "    if False:\n",
           f"{_CLI}::TestWrongInput::test_a_file_without_end_is_let_go"),
    Mutant("A9: Anthropic's requests are read as OpenAI's", "cli/tokens_input.py",
           '        return "anthropic"\n', '        return "chat"\n',
           f"{_CLI}::TestRequests::test_a_dialect_is_told_by_what_only_it_has"),
    Mutant("A9: what is read elsewhere counts as nothing, unsaid", "cli/tokens_view.py",
           "{' of what can be seen' if count.unseen else ''}", "",
           f"{_CLI}::TestRequests::test_what_is_read_elsewhere_is_said"),
]  # fmt: skip  # a table
