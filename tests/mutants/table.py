"""The guards, each taken out once. A guard counts only if a test fails without it.

A row holds a piece of the source that occurs exactly once, what stands there instead, and the test that must notice.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MUTANTS", "Mutant"]

_E2E = "tests/e2e"
_TABLE = f"{_E2E}/test_fault_table.py"
_ATTEMPTS = f"{_TABLE}::test_attempts_at_the_provider"
_TOLD = f"{_TABLE}::test_what_the_caller_is_told"
_DELIVERED = f"{_TABLE}::test_what_is_delivered"
_LEDGER = f"{_TABLE}::test_what_the_ledger_says"
_BREAK = f"{_E2E}/test_on_break.py::test_outcome"
_CHAOS = "tests/unit/chaos"
_BAD = f"{_E2E}/test_bad_client.py"


@dataclass(frozen=True)
class Mutant:
    """One guard less."""

    name: str
    file: str
    """Under ``src/holdfast``."""
    old: str
    new: str
    test: str
    """The test's id, as pytest takes it."""


def _speaking(event: str) -> tuple[str, str]:
    """A row of the guard's table in the state SPEAKING: the rows before it make it unique."""
    rows = [
        "END: _B,  # an end marker without a finish reason is a cut that looks tidy",
        "FULL_END: _D,",
        "ERROR: _B,",
    ]
    rows += ["MALFORMED: _B,", "EOF: _B,", "LOST: _B,\n    },\n    _C:"]
    place = next(i for i, row in enumerate(rows) if row.startswith(event))
    old = "\n".join(f"        Event.{row}" for row in rows)
    rows[place] = rows[place].replace("_B", "_D", 1)
    return old, "\n".join(f"        Event.{row}" for row in rows)


MUTANTS = [
    # The stream guard.
    Mutant("an end marker without a finish reason is a success", "engine/guard.py", *_speaking("END"),
           f"{_DELIVERED}[no finish, [DONE] alone stream]"),
    Mutant("the end of the bytes is a success", "engine/guard.py", *_speaking("EOF"),
           f"{_DELIVERED}[cut clean at 3 alone stream]"),
    Mutant("a lost connection is a success", "engine/guard.py", *_speaking("LOST"),
           f"{_DELIVERED}[cut FIN at 3 alone stream]"),
    Mutant("an unreadable event is a success", "engine/guard.py", *_speaking("MALFORMED"),
           f"{_DELIVERED}[malformed at 3 alone stream]"),
    Mutant("an error event is a success", "engine/guard.py", *_speaking("ERROR"),
           f"{_DELIVERED}[error event at 3 alone stream]"),
    Mutant("content after its choice's finish reason passes", "engine/guard.py",
           "self._go(Event.CONFLICT if done is not None else Event.CONTENT, None)", "self._go(Event.CONTENT, None)",
           "tests/unit/engine/test_guard.py::test_content_after_its_own_choice_finished_is_a_conflict"),
    Mutant("another finish reason passes", "engine/guard.py",
           "Event.REPEAT if done == finish else Event.CONFLICT", "Event.REPEAT",
           "tests/unit/engine/test_guard.py"),
    Mutant("a finish reason goes out twice", "engine/guard.py", "        if repeated:\n", "        if False:\n",
           f"{_DELIVERED}[finish repeated alone stream]"),
    Mutant("usage goes out unasked", "engine/guard.py",
           "        if self._wants_usage:\n            frames.append(self._usage_frame)",
           "        if True:\n            frames.append(self._usage_frame)",
           f"{_DELIVERED}[ok alone stream]"),
    Mutant("usage goes out twice", "engine/guard.py",
           "            self._usage_frame = signal.raw\n            return b\"\"",
           "            self._usage_frame = signal.raw\n            return signal.raw",
           f"{_DELIVERED}[ok, usage asked alone stream]"),
    Mutant("the id changes within a stream", "engine/guard.py",
           "if edit.id is None and edit.model is None:", "if True:",
           f"{_TOLD}[id changes alone stream]"),
    Mutant("an empty plain answer is one", "dialects/openai_chat/scan.py",
           "if not body or body.isspace():",
           'if not body:\n        return [Signal(b"", ((0, 1, "stop"),)), Signal(b"", end=True)]\n    if body.isspace():',
           f"{_TOLD}[empty, plain alone plain]"),
    # The commit.
    Mutant("another attempt's text is added after the commit", "engine/exchange.py",
           "return self._written is not None and self.call.envelope.choices == 1 and attempt.guard.content == TEXT",
           "return True",
           f"{_DELIVERED}[cut FIN at 3 backed stream]"),
    Mutant("a resumption needn't repeat the prefix", "engine/resume.py",
           "text.startswith(rest) or rest.startswith(text)", "True",
           f"{_BREAK}[diverged]"),
    Mutant("a tool call is resumed", "engine/exchange.py", " and attempt.guard.content == TEXT", "",
           f"{_BREAK}[never-after-a-tool-call]"),
    Mutant("buffered answers go out at once", "engine/exchange.py",
           'on_break == "buffer" and not attempt.done', 'on_break == "never" and not attempt.done',
           f"{_BREAK}[buffered]"),
    # Retries, fallback and the deadline.
    Mutant("Retry-After is ignored", "engine/chain.py",
           "        if error.retry_after_s is not None:\n            return error.retry_after_s",
           "        if False:\n            return 0.0",
           f"{_ATTEMPTS}[429, milliseconds alone plain]"),
    Mutant("a long Retry-After holds up the next target", "engine/chain.py",
           "error.retry_after_s > place.target.retry.max_s", "error.retry_after_s > 1e9",
           f"{_ATTEMPTS}[429, beyond max_s backed plain]"),
    Mutant("Retry-After isn't passed on", "gateway/door.py",
           'headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after_s)))', "pass",
           f"{_TOLD}[429, beyond the deadline alone plain]"),
    Mutant("waits pass the deadline", "engine/chain.py", " and at < self._deadline", "",
           f"{_E2E}/test_deadline.py::test_ends_by_it[waits-that-add-up]"),
    Mutant("attempts pass the deadline", "engine/attempt.py",
           "with Limit(self._timers, min(patience, self._deadline)):", "with Limit(self._timers, patience):",
           f"{_E2E}/test_deadline.py::test_ends_by_it[silence]"),
    Mutant("streams pass the deadline", "engine/attempt.py",
           "        if now >= self._deadline:\n"
           "            raise TimeoutError  # a provider that never pauses is bounded too\n"
           "        data = incoming.take()\n        if data is None:\n"
           "            with Limit(self._timers, min(when, self._deadline)):",
           "        data = incoming.take()\n        if data is None:\n            with Limit(self._timers, when):",
           f"{_E2E}/test_deadline.py::test_ends_by_it[a-stream-without-end]"),
    Mutant("retries have no cap", "engine/chain.py",
           "_Place(target, 1 + target.retry.max_retries)", "_Place(target, 1_000)",
           f"{_ATTEMPTS}[500 alone plain]"),
    Mutant("attempts have no cap in all", "engine/chain.py", "or self._left <= 0", "or False",
           f"{_ATTEMPTS}[chain capped in all plain]"),
    Mutant("a silent target is tried again first", "engine/chain.py",
           "TimedOut: Verdict.DEFER", "TimedOut: Verdict.RETRY",
           f"{_ATTEMPTS}[hang backed plain]"),
    Mutant("an exhausted quota is retried", "engine/chain.py",
           "QuotaExhausted: Verdict.NEXT", "QuotaExhausted: Verdict.RETRY",
           f"{_ATTEMPTS}[quota alone plain]"),
    Mutant("the caller's 400 is retried", "engine/chain.py",
           "RequestRefused: Verdict.STOP", "RequestRefused: Verdict.RETRY",
           f"{_ATTEMPTS}[400 alone plain]"),
    Mutant("the caller's 400 goes to the next target", "engine/chain.py",
           "RequestRefused: Verdict.STOP", "RequestRefused: Verdict.NEXT",
           f"{_ATTEMPTS}[400 backed plain]"),
    Mutant("content policy goes to the next target", "engine/chain.py",
           "ContentRefused: Verdict.STOP", "ContentRefused: Verdict.NEXT",
           f"{_ATTEMPTS}[content policy backed plain]"),
    Mutant("a context too long goes anywhere", "engine/chain.py",
           "if mine and (self._window(other.target) or 0) > mine]", "if True]",
           f"{_E2E}/test_fallback.py::test_context_length_is_passed_on_where_no_window_is_larger"),
    Mutant("our refused key is retried", "engine/chain.py",
           "AuthRefused: Verdict.STOP", "AuthRefused: Verdict.RETRY",
           f"{_ATTEMPTS}[401 alone plain]"),
    Mutant("opting in to a fallback changes nothing", "engine/chain.py",
           "if error.upstream_status in wider or (", "if False or (",
           f"{_ATTEMPTS}[chain 401 opted in plain]"),
    Mutant("the SDK's own retries multiply ours", "gateway/door.py",
           '(b"x-should-retry", b"false")', '(b"x-unused", b"false")',
           f"{_E2E}/test_openai_sdk.py::TestErrors::test_typed_once[whole-down-InternalServerError-3-3 attempts failed]"),
    # Clients.
    Mutant("a client that leaves goes unnoticed", "gateway/door.py",
           'self.stop(Abandoned("the caller left before the answer was complete"))', "return",
           f"{_E2E}/test_client_leaves.py::test_the_provider_is_let_go[before-the-first-byte-streamed]"),
    Mutant("a client may stall for ever", "gateway/door.py",
           "if since is not None and self._exchange.clock.monotonic() - since >= limit_s:", "if False:",
           f"{_E2E}/test_pressure.py::test_a_client_that_never_reads"),
    Mutant("a client that stalls isn't cut", "gateway/asgi.py", "if self.abort is not None:", "if False:",
           f"{_E2E}/test_pressure.py::test_a_client_that_never_reads"),
    Mutant("the provider isn't paused", "transport/http1.py", "answer.unread > HIGH_WATER", "answer.unread > (1 << 60)",
           f"{_E2E}/test_pressure.py::test_a_client_that_never_reads"),
    Mutant("other origins are answered", "gateway/auth.py",
           "origin is not None and not _same_origin", "False and not _same_origin",
           f"{_BAD}::TestWebPages::test_other_origins"),
    Mutant("other Hosts are answered", "gateway/auth.py", "if not _is_loopback_name(host):", "if False:",
           f"{_BAD}::TestWebPages::test_other_hosts"),
    Mutant("any key will do", "gateway/auth.py",
           "        if key is None:\n", "        key = key or next(iter(self._by_hash.values()))\n        if False:\n",
           f"{_BAD}::TestKeys::test_none_or_unknown"),
    Mutant("keys have no limits", "gateway/door.py",
           "if key is not None and not key.permits(", "if False and not key.permits(",
           f"{_BAD}::TestKeys::test_restrictions"),
    Mutant("chunked bodies have no limit", "gateway/body.py",
           "                if size > limit:", "                if False:",
           f"{_BAD}::TestTooMuch::test_chunked"),
    Mutant("stated bodies have no limit", "gateway/body.py",
           "int(stated) > limit", "False",
           f"{_BAD}::TestTooMuch::test_stated_and_not_sent"),
    Mutant("a draining gateway takes requests", "gateway/http.py", "        if self._draining:\n            raise",
           "        if False:\n            raise",
           f"{_E2E}/test_drain.py::test_new_requests_are_refused"),
    Mutant("what is cut isn't told", "gateway/door.py",
           "            await self._say_broken(reason)", "            raise reason",
           f"{_E2E}/test_drain.py::test_what_does_not_finish_is_told"),
    # The record.
    Mutant("the intent isn't awaited", "engine/exchange.py",
           "            await self._engine.ledger.begin(intent)",
           "            asyncio.ensure_future(self._engine.ledger.begin(intent)).add_done_callback(lambda f: f.exception())",
           f"{_E2E}/test_gateway.py::TestHealth::test_a_locked_ledger"),
    Mutant("ends are dropped", "engine/exchange.py", "engine.ledger.end(end)", "engine.ledger.health()",
           f"{_LEDGER}[ok alone plain]"),
    Mutant("what was cut costs nothing", "engine/billing.py",
           "if refused or not sent or isinstance(error, ConnectFailed):", "if error is not None:",
           f"{_LEDGER}[cut FIN at 3 alone stream]"),
    Mutant("an error inside a 200 costs nothing", "engine/billing.py",
           " and status is not None and not 200 <= status < 300", "",
           f"{_LEDGER}[error event at 3 alone stream]"),
    Mutant("providers may quote our key", "engine/endpoint.py", "data = secret.scrub(data)", "pass",
           f"{_E2E}/test_gateway.py::TestSecrets"),
    # The request.
    Mutant("a field is lost on the way", "dialects/openai_chat/envelope.py",
           "fields = dict(envelope.fields)",
           'fields = {name: value for name, value in envelope.fields.items() if name != "seed"}',
           f"{_E2E}/test_fallback.py::test_each_target_gets_the_same_request"),
    Mutant("the chain is tried backwards", "engine/chain.py",
           "for target in targets)", "for target in reversed(targets))",
           f"{_E2E}/test_fallback.py::test_order"),
    # Odd providers.
    Mutant("what is there already passes the deadline", "engine/attempt.py",
           "if now >= self._deadline:", "if now < 0:",
           "tests/simulation/test_route_settings.py::test_a_provider_that_never_pauses_meets_the_deadline"),
    Mutant("a break in the content's segment is no break after it", "engine/guard.py",
           "return self._spoke or ", "return self.state is State.SPEAKING or ",
           "tests/simulation/test_on_break.py::test_content_and_its_break_in_one_segment_are_content_and_a_break"),
    Mutant("an error's body may hang", "engine/attempt.py",
           "with Limit(self._timers, patience):\n                body", "if patience:\n                body",
           "tests/simulation/test_route_settings.py::test_a_body_that_hangs_takes_nothing_from_an_error_status"),
    Mutant("what was never sent is billed", "engine/billing.py",
           "if refused or not sent or isinstance(error, ConnectFailed):", "if refused:",
           f"{_LEDGER}[refused alone plain]"),
    # Seams.
    Mutant("a permit is kept", "engine/exchange.py",
           "        if permit is not None:\n            permit.leave(error)", "        del permit",
           "tests/simulation/test_seams.py::test_everything_comes_back_once_whoever_leaves_when"),
    Mutant("a ticket is kept", "engine/exchange.py",
           "            self._ticket.settle(end)", "            self._ticket.admitted = end",
           "tests/simulation/test_seams.py::test_everything_comes_back_once_whoever_leaves_when"),
    # Translations.
    Mutant("what can't be said is dropped in silence", "dialects/writing.py",
           "if self._strict and not self._drops.permit(name):", "if self._strict and False:",
           f"{_E2E}/test_translated.py::test_a_target_that_cant_say_it_is_passed_over_and_recorded"),
    Mutant("what was dropped isn't told", "engine/asking.py",
           "target, overrides), drops.dropped)", "target, overrides))",
           f"{_E2E}/test_translated.py::test_what_the_route_permits_is_left_out_and_told"),
    Mutant("who was passed over isn't recorded", "engine/exchange.py",
           "self._refusals.append((step.target, error))", "self._refusals = [(step.target, error)]",
           f"{_E2E}/test_translated.py::test_if_none_can_the_caller_learns_what_and_who_in_its_own_words"),
    Mutant("a refusal of targets hides a failure of others", "engine/exchange.py",
           "if self._refusals and not self._chain.failures:", "if self._refusals:",
           f"{_E2E}/test_translated.py::test_if_others_failed_their_failure_is_the_answer"),
    Mutant("one provider's signature goes to another as it came", "engine/asking.py",
           "foreign = native and dialect.codec is not None and self._has_foreign_signatures()",
           "foreign = False",
           f"{_E2E}/test_translated.py::test_one_providers_signature_never_reaches_another"),
    Mutant("an error is told in the provider's dialect", "gateway/door.py",
           " and error.body and error.dialect == dialect.name:", " and error.body:",
           "tests/unit/gateway/test_respond_error.py::test_the_words_of_another_dialect_are_said_in_the_callers"),
    Mutant("a translated stream has no ending", "engine/lane.py",
           "return self._encoder.encode(Ended()).removesuffix(self._caller.end_frame)", 'return b""',
           f"{_E2E}/test_matrix.py::TestPairs::test_text[stream-anthropic-openai]"),
    Mutant("what providers count for nothing is billed", "engine/billing.py",
           "    if free:\n        return _NOTHING\n", "",
           f"{_E2E}/test_passed_through.py::TestCounting::test_anthropic_counts_by_an_anthropic_target_for_nothing"),
    Mutant("a caller's own headers stay behind", "engine/attempt.py",
           "_headers(endpoint, call) if call.headers and lane.native else endpoint.headers", "endpoint.headers",
           f"{_E2E}/test_passed_through.py::TestCounting::test_anthropic_counts_by_an_anthropic_target_for_nothing"),
    Mutant("a route's parameters are lost in translation", "engine/exchange.py",
           "overrides = {**overrides, **target.set}", "overrides = {**target.set}",
           f"{_E2E}/test_translated.py::test_a_routes_parameters_are_said_in_the_targets_words"),
    # The provider that fails on purpose: what it says of itself must be so, or it proves nothing.
    Mutant("what comes later in a table is rarer than it says", "chaos/mix.py",
           "if draw(number) * left < part * scale:", "if draw(number) < part * scale:",
           f"{_CHAOS}/test_mix.py::test_any_table_has_exact_shares"),
    Mutant("a burst is many draws", "chaos/mix.py",
           "(attempt - 1) // burst).unit", "attempt).unit",
           f"{_CHAOS}/test_mix.py::test_bursts_keep_the_share_and_come_in_whole_blocks"),
    Mutant("a place is never given back", "chaos/chat.py",
           "            self.ticket.leave()", "            self.ticket = None",
           f"{_CHAOS}/test_capacity.py::test_a_place_is_held_to_the_last_byte_and_then_given_to_the_first_who_waits"),
    Mutant("more are served than there are places", "chaos/capacity.py",
           "        if self._running < capacity.concurrent:", "        if self._running <= capacity.concurrent:",
           f"{_CHAOS}/test_capacity.py::test_a_place_is_held_to_the_last_byte_and_then_given_to_the_first_who_waits"),
    Mutant("a reset is a clean close", "chaos/play.py",
           "sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)", "sock.fileno()",
           f"{_CHAOS}/test_faults_on_the_socket.py::test_reset_sends_rst_and_not_one_byte"),
    Mutant("a half-close closes", "chaos/http.py",
           "            self._transport.write_eof()", "            self._transport.close()",
           f"{_CHAOS}/test_connection_faults.py::test_half_close_is_a_fin_without_data_on_a_connection_that_goes_on"),
    Mutant("a shut door stays open", "chaos/door.py",
           "        self._change_to(shut.how)", "        self._shut = shut.how",
           f"{_CHAOS}/test_connection_faults.py::test_a_server_that_goes_down_resets_and_then_shuts_its_door"),
]  # fmt: skip  # a table reads better packed
