"""One call that proves a dialect: ``run_dialect_conformance(MyCodec())``.

It searches, with Hypothesis, for a request, an answer, a way to cut a stream's bytes or a malformed body that the codec gets
wrong. A failure prints the smallest case found. Needs Hypothesis, which Holdfast itself doesn't depend on.

Example:
    >>> from holdfast.dialects.openai_chat.codec import OpenAIChatCodec
    >>> from holdfast.testing.conformance import run_dialect_conformance
    >>> run_dialect_conformance(OpenAIChatCodec())  # doctest: +SKIP
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from holdfast.errors import BadAnswer, CantExpress, InvalidRequest
from holdfast.model import (
    Answer,
    Ended,
    Event,
    Media,
    Message,
    Ping,
    Reasoning,
    Refusal,
    Request,
    Role,
    Text,
    ToolCall,
    ToolResult,
    UsageReported,
    WireError,
    fold,
    in_pieces,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hypothesis.strategies import SearchStrategy

    from holdfast.dialects.codec import DialectCodec

__all__ = ["asked", "run_dialect_conformance", "told"]


def run_dialect_conformance(
    codec: DialectCodec,
    *,
    requests: SearchStrategy[Request] | None = None,
    answers: SearchStrategy[Answer] | None = None,
    request_view: Callable[[Request], Any] | None = None,
    answer_view: Callable[[Answer], Any] | None = None,
    sse: bool = True,
    usage_apart: bool = True,
) -> None:
    """Raises AssertionError for the first promise that ``codec`` breaks.

    Args:
        codec: the dialect to prove.
        requests: what it is asked to say; by default everything that all dialects know. CantExpress is a valid outcome.
        answers: likewise for answers.
        request_view: what of a request has to survive; by default :func:`asked`.
        answer_view: what of an answer has to survive; by default :func:`told`.
        sse: whether its streams are server-sent events, which may have other line ends and comments in between.
        usage_apart: whether a stream's usage is an event of its own, which is told only if it is asked for.

    Raises:
        ModuleNotFoundError: Hypothesis isn't installed.
    """
    from holdfast.testing import strategies  # needs Hypothesis, which is only there for tests

    requests = strategies.requests() if requests is None else requests
    answers = strategies.answers() if answers is None else answers
    checks = _Checks(
        codec, requests, answers, request_view or asked, answer_view or told, sse=sse, usage_apart=usage_apart
    )
    checks.requests_round_trip()
    checks.answers_round_trip()
    checks.streams_tell_the_answer_however_they_are_cut()
    checks.errors_round_trip()
    checks.malformed_bodies_give_typed_errors()
    checks.broken_bodies_give_typed_errors()
    checks.broken_streams_give_typed_errors()


def asked(request: Request) -> Any:
    """What a request asks, without how it was spelled."""
    return {
        "model": request.model,
        "messages": [said for message in request.messages for said in _said(message)],
        "tools": request.tools,
        "tool_choice": request.tool_choice,
        "parallel_tool_calls": request.parallel_tool_calls,
        "output": request.output,
        "reasoning": request.reasoning and request.reasoning.effort,
        "sampling": request.sampling,
        "stop": request.stop,
        "n": request.n,
        "max_output_tokens": request.max_output_tokens,
        "stream": request.stream,
        "include_usage": request.include_usage,
        "user": request.user,
        "metadata": request.metadata or None,
    }


def told(answer: Answer) -> Any:
    """What an answer tells, without how it was cut into blocks."""
    usage = answer.usage
    return {
        "id": answer.id,
        "model": answer.model,
        "choices": [
            {
                "index": choice.index,
                "finish": choice.finish and choice.finish.reason,
                "text": choice.text,
                "reasoning": _joined(part.text for part in choice.parts if isinstance(part, Reasoning)),
                "refusal": _joined(part.text for part in choice.parts if isinstance(part, Refusal)),
                "calls": [_view(part) for part in choice.parts if isinstance(part, ToolCall)],
                "citations": [
                    (each.url, each.title, each.start, each.end)
                    for part in choice.parts
                    if isinstance(part, Text)
                    for each in part.citations
                ],
            }
            for choice in answer.choices
        ],
        "usage": usage
        and (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, usage.reasoning_tokens),
    }


class _Checks:
    def __init__(
        self,
        codec: DialectCodec,
        requests: SearchStrategy[Request],
        answers: SearchStrategy[Answer],
        request_view: Callable[[Request], Any],
        answer_view: Callable[[Answer], Any],
        *,
        sse: bool,
        usage_apart: bool,
    ) -> None:
        self.codec = codec
        self.requests = requests
        self.answers = answers
        self.request_view = request_view
        self.answer_view = answer_view
        self.sse = sse
        self.usage_apart = usage_apart

    def requests_round_trip(self) -> None:
        @_search(self.requests)
        def check(request: Request) -> None:
            try:
                body = self.codec.encode_request(request)
            except CantExpress as refusal:
                _expect(bool(refusal.param), "CantExpress doesn't name the field", refusal.message)
                return
            back = self.codec.decode_request(body)
            _same(self.request_view(back), self.request_view(request), "a request came back changed", body)
            _same_json(self.codec.encode_request(back), body, "a decoded request encodes differently")

        check()

    def answers_round_trip(self) -> None:
        @_search(self.answers)
        def check(answer: Answer) -> None:
            body = self.codec.encode_answer(answer)
            back = self.codec.decode_answer(body)
            _same(self.answer_view(back), self.answer_view(answer), "an answer came back changed", body)
            _same_json(self.codec.encode_answer(back), body, "a decoded answer encodes differently")
            _same(fold(split(back)), back, "an answer isn't the fold of its split", body)

        check()

    def streams_tell_the_answer_however_they_are_cut(self) -> None:
        from hypothesis import strategies as st  # only there for tests

        from holdfast.testing.strategies import cuts  # needs Hypothesis

        @_search(self.answers, st.integers(1, 9), st.booleans(), st.booleans(), st.data())
        def check(answer: Answer, size: int, crlf: bool, comments: bool, data: Any) -> None:  # drawn
            whole = self.codec.decode_answer(self.codec.encode_answer(answer))
            wire = self._encode(split(whole, in_pieces(size)))
            events = self._decode([wire])
            _same(
                self.answer_view(fold(events)), self.answer_view(whole), "a stream tells another answer", wire
            )
            ends = [at for at, event in enumerate(events) if isinstance(event, Ended)]
            _expect(ends == [len(events) - 1], "a stream has to end once, last", wire)
            again = self._decode([self._encode(events)])
            _same(fold(again), fold(events), "a stream that was read is written differently", wire)
            quiet = self._decode([self._encode(split(whole), include_usage=False)])
            told_usage = any(isinstance(event, UsageReported) for event in quiet)
            _expect(not (self.usage_apart and told_usage), "usage wasn't asked for", wire)
            if self.sse and comments:
                wire = wire.replace(b"\n\n", b"\n\n: still here\n\n")
            if self.sse and crlf:
                wire = wire.replace(b"\n", b"\r\n")
            pieces = data.draw(cuts(wire))
            heard = [event for event in self._decode(pieces) if not isinstance(event, Ping)]
            _same(heard, events, "the same bytes, cut differently, give other events", pieces)

        check()

    def errors_round_trip(self) -> None:
        from holdfast.testing.strategies import errors  # needs Hypothesis

        @_search(errors())
        def check(error: WireError) -> None:
            body = self.codec.encode_error(error)
            back = self.codec.decode_error(error.status or 500, body)
            _same(
                (back.message, back.status), (error.message, error.status), "an error came back changed", body
            )
            for name in ("type", "code", "param"):
                _expect(
                    getattr(back, name) in (getattr(error, name), None) or getattr(error, name) is None,
                    f"an error's {name} was changed",
                    body,
                )
            _same_json(self.codec.encode_error(back), body, "a decoded error encodes differently")

        check()

    def malformed_bodies_give_typed_errors(self) -> None:
        from hypothesis import strategies as st  # only there for tests

        from holdfast.testing.strategies import json_values  # needs Hypothesis

        deep = st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5_000, b"1e999999999999999999999"])
        bodies = st.binary(max_size=60) | json_values().map(_dump) | deep

        @_search(bodies)
        def check(body: bytes) -> None:
            self._survives(body)
            self._survives_stream(body)
            self._survives_stream(b"data: " + body + b"\n\n")

        check()

    def broken_bodies_give_typed_errors(self) -> None:
        from hypothesis import strategies as st  # only there for tests

        from holdfast.testing.strategies import json_values  # needs Hypothesis

        @_search(self.requests, self.answers, st.integers(0, 500), json_values(), st.booleans())
        def check(request: Request, answer: Answer, at: int, value: Any, remove: bool) -> None:  # drawn
            with contextlib.suppress(CantExpress):
                self._survives(_broken(self.codec.encode_request(request), at, value, remove=remove))
            self._survives(_broken(self.codec.encode_answer(answer), at, value, remove=remove))

        check()

    def broken_streams_give_typed_errors(self) -> None:
        from hypothesis import strategies as st  # only there for tests

        from holdfast.testing.strategies import json_values  # needs Hypothesis

        @_search(self.answers, st.integers(0, 50), st.integers(0, 60), json_values(), st.booleans())
        def check(answer: Answer, which: int, at: int, value: Any, remove: bool) -> None:  # drawn
            frames = self._encode(split(answer)).split(b"\n\n")
            which %= len(frames)
            lines = [
                b"data: " + _broken(line[6:], at, value, remove=remove)
                if line.startswith(b"data: {")
                else line
                for line in frames[which].split(b"\n")
            ]
            frames[which] = b"\n".join(lines)
            self._survives_stream(b"\n\n".join(frames))

        check()

    def _survives(self, body: bytes) -> None:
        try:
            request = self.codec.decode_request(body)
        except InvalidRequest as error:
            _expect(bool(error.message), "an error without a message", body)
        else:
            self.codec.encode_request(request)
        try:
            answer = self.codec.decode_answer(body)
        except BadAnswer as error:
            _expect(bool(error.message), "an error without a message", body)
        else:
            self.codec.encode_answer(answer)
            self._encode(split(answer))
        self.codec.encode_error(self.codec.decode_error(500, body))

    def _survives_stream(self, wire: bytes) -> None:
        with contextlib.suppress(BadAnswer):
            events = self._decode([wire])
            self._encode(events)
            fold(events)

    def _encode(self, events: Iterable[Event], *, include_usage: bool = True) -> bytes:
        encoder = self.codec.stream_encoder(include_usage=include_usage)
        return b"".join(encoder.encode(event) for event in events)

    def _decode(self, pieces: Iterable[bytes]) -> list[Event]:
        decoder = self.codec.stream_decoder()
        return [event for piece in pieces for event in decoder.feed(piece)] + decoder.finish()


def _search(*drawn: SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Hypothesis' search over ``drawn``, at the number of examples that the caller's profile says."""
    from hypothesis import HealthCheck, given, settings  # only there for tests

    def wrap(check: Callable[..., None]) -> Callable[[], None]:
        patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
        searching: Callable[[], None] = patient(given(*drawn)(check))
        return searching

    return wrap


def _said(message: Message) -> list[Any]:
    role = Role.SYSTEM if message.role is Role.DEVELOPER else message.role
    return [
        ("result", part.call_id, [_view(inner) for inner in part.parts], part.is_error or False)
        if isinstance(part, ToolResult)
        else (role, _view(part))
        for part in message.parts
    ]


def _view(part: Any) -> Any:
    match part:
        case Text() | Refusal() | Reasoning():
            return type(part).__name__, part.text
        case ToolCall():
            return "ToolCall", part.id, part.name, _arguments(part.arguments)
        case Media():
            return type(part).__name__, part.url, part.data, part.file_id, part.media_type
        case _:
            return part


def _arguments(text: str) -> Any:
    """What the arguments say: dialects that send them as an object don't keep their spelling."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _joined(texts: Iterable[str]) -> str:
    return "".join(texts)


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def _broken(body: bytes, at: int, value: Any, *, remove: bool) -> bytes:
    """``body`` with its value number ``at`` (depth first, in a circle) removed or replaced by ``value``."""
    root = json.loads(body)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, inner in items:
            places.append((node, key))
            walk(inner)

    walk(root)
    if not places:
        return _dump(value)
    holder, key = places[at % len(places)]
    if remove:
        del holder[key]
    else:
        holder[key] = value
    return _dump(root)


def _expect(held: bool, why: str, case: Any) -> None:  # reads like assert
    if not held:
        raise AssertionError(f"{why}: {case!r}")


def _same(got: Any, wanted: Any, why: str, case: Any) -> None:
    if got != wanted:
        raise AssertionError(f"{why}\n  got:    {got!r}\n  wanted: {wanted!r}\n  in:     {case!r}")


def _same_json(got: bytes, wanted: bytes, why: str) -> None:
    _same(json.loads(got), json.loads(wanted), why, wanted)
