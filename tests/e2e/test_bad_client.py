"""Clients that send nonsense, too much, too slowly, or what they may not: a 4xx that says so, and nothing goes upstream."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.http import Answer, Client, ask, chat, request_bytes

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BODY = 256 * 1024
READ_S = 0.5
KEYS = {"all": "key-all-0123456789", "routes": "key-routes-0123456789", "models": "key-models-0123456789"}


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig()) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    document = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("bad-client") / "ledger.db",
        gateway={"max_body_mb": MAX_BODY // 2**18 / 4, "read_s": READ_S},
        routes={"chat": {"targets": ["one/m"]}},
    )
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


@pytest.fixture(scope="module")
def keyed(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    hashes = {name: {"sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in KEYS.items()}
    hashes["routes"]["routes"] = ["chat"]
    hashes["models"]["models"] = ["one/m-*"]
    document = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("keyed") / "ledger.db",
        routes={"chat": {"targets": ["one/m"]}, "other": {"targets": ["one/m"]}},
        keys=hashes,
    )
    with run_gateway(document) as running:
        yield running
        running.no_traceback()
        assert not any(key in text for text in running.logs.text for key in KEYS.values())


@pytest.fixture(autouse=True)
def alive_afterwards(request: pytest.FixtureRequest, chaos: Chaos) -> Iterator[None]:
    """Each test begins with an empty journal; after each the gateway still serves."""
    chaos.reset()
    yield
    running = request.getfixturevalue("keyed" if "keyed" in request.fixturenames else "gateway")
    headers = {"authorization": f"Bearer {KEYS['all']}"} if running.config.keys else {}
    before = len(chaos.journal())
    answer = asyncio.run(ask(running.port, chat("chat"), headers=headers))
    assert answer.status == 200
    assert len(chaos.journal()) == before + 1


def send(running: Running, body: Any = b"", **how: Any) -> Answer:
    return asyncio.run(ask(running.port, body, **how))


def refused(answer: Answer, status: int, code: str, param: str | None = None) -> None:
    """An error in OpenAI's shape that says what was wrong, and where."""
    assert answer.status == status, answer.body
    assert answer.whole
    assert answer.headers["content-type"] == "application/json"
    error = answer.error
    assert (error["code"], error["param"]) == (code, param)
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["request_id"] == answer.id
    assert answer.headers["x-should-retry"] == "false"
    if param is not None:
        assert param in error["message"]


class TestTooMuch:
    def test_stated(self, gateway: Running, chaos: Chaos) -> None:
        refused(send(gateway, b"x" * (MAX_BODY + 1)), 413, "request_too_large")
        assert chaos.journal() == []

    def test_stated_and_not_sent(self, gateway: Running, chaos: Chaos) -> None:
        """It is refused by what it says, before it is read."""
        answer = send(gateway, b"{", headers={"content-length": str(10**15)})
        refused(answer, 413, "request_too_large")
        assert answer.headers["connection"] == "close"
        assert chaos.journal() == []

    def test_chunked(self, gateway: Running, chaos: Chaos) -> None:
        refused(send(gateway, b"x" * (MAX_BODY + 1), chunked=True), 413, "request_too_large")
        assert chaos.journal() == []

    def test_as_much_as_allowed(self, gateway: Running, chaos: Chaos) -> None:
        body = json.dumps(chat("chat")).encode()
        body += b" " * (MAX_BODY - len(body))
        assert send(gateway, body).status == 200
        assert send(gateway, body, chunked=True).status == 200
        assert len(chaos.journal()) == 2

    @pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["lists", "objects"])
    def test_too_deep(self, gateway: Running, chaos: Chaos, opening: bytes) -> None:
        nested = opening * (100_000 // len(opening) * 2)
        body = b'{"model":"chat","messages":[{"role":"user","content":"x"}],"deep":' + nested
        answer = send(gateway, body)
        refused(answer, 400, "invalid_request")
        assert "nested too deep" in answer.error["message"]
        assert chaos.journal() == []

    def test_compressed(self, gateway: Running, chaos: Chaos) -> None:
        answer = send(gateway, chat("chat"), headers={"content-encoding": "gzip"})
        refused(answer, 415, "invalid_request")
        assert chaos.journal() == []


class TestNonsense:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"null",
            b"[]",
            b'"x"',
            b"{} {}",
            b"{'a': 1}",
            b'{"model":"chat","messages":',
            b"\x00",
            b"NaN",
        ],
        ids=repr,
    )
    def test_no_json_object(self, gateway: Running, chaos: Chaos, body: bytes) -> None:
        answer = send(gateway, body)
        assert answer.status == 400
        assert answer.error["code"] == "invalid_request"
        assert chaos.journal() == []

    @pytest.mark.parametrize("where", ["model", "content", "unknown"])
    def test_no_utf8(self, gateway: Running, chaos: Chaos, where: str) -> None:
        body = json.dumps({**chat("chat"), "unknown": "UNKNOWN"}).encode()
        mark = {"model": b'"chat"', "content": b'"hi"', "unknown": b'"UNKNOWN"'}[where]
        answer = send(gateway, body.replace(mark, b'"\xff\xc3("'))
        refused(answer, 400, "invalid_request")
        assert "UTF-8" in answer.error["message"]
        assert chaos.journal() == []

    @pytest.mark.parametrize(
        ("change", "param"),
        [
            ({"model": None}, "model"),
            ({"model": ""}, "model"),
            ({"model": 7}, "model"),
            ({"messages": None}, "messages"),
            ({"messages": []}, "messages"),
            ({"messages": {}}, "messages"),
            ({"messages": ["hi"]}, "messages[0]"),
            ({"messages": [{"content": "hi"}]}, "messages[0].role"),
            ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
            ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, "messages[0].content[0].type"),
            ({"stream": "yes"}, "stream"),
            ({"n": 0}, "n"),
            ({"n": 10**6}, "n"),
            ({"max_tokens": "many"}, "max_tokens"),
            ({"temperature": "hot"}, "temperature"),
            ({"tools": [{}]}, "tools[0].type"),
            ({"stop": 5}, "stop"),
            ({"stream_options": {"include_usage": True}}, "stream_options"),
        ],
        ids=str,
    )
    def test_the_field_is_named(self, gateway: Running, chaos: Chaos, change: dict, param: str) -> None:
        body = {**chat("chat"), **change}
        refused(send(gateway, body), 400, "invalid_request", param)
        assert chaos.journal() == []

    @pytest.mark.parametrize("missing", ["model", "messages"])
    def test_the_missing_field_is_named(self, gateway: Running, chaos: Chaos, missing: str) -> None:
        body = chat("chat")
        del body[missing]
        refused(send(gateway, body), 400, "invalid_request", missing)
        assert chaos.journal() == []

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
    @given(data=st.data())
    def test_any_json(self, gateway: Running, data: st.DataObject) -> None:
        """Whatever stands in the known fields, the answer is a 4xx in OpenAI's shape, or the provider's."""
        anything = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=6,
        )  # fmt: skip
        fields = st.sampled_from(
            sorted([*chat("chat"), "stream", "n", "tools", "stop", "stream_options", "user"])
        )
        body = {**chat("chat"), **data.draw(st.dictionaries(fields, anything, min_size=1, max_size=3))}
        answer = send(gateway, body)
        assert answer.status == 200 or 400 <= answer.status < 500
        if answer.status != 200:
            assert answer.error["message"]

    @settings(max_examples=100)
    @given(body=st.binary(max_size=200))
    def test_any_bytes(self, gateway: Running, chaos: Chaos, body: bytes) -> None:
        answer = send(gateway, body)
        assert answer.status == 400
        assert answer.error["code"] == "invalid_request"
        assert chaos.journal() == []


class TestElsewhere:
    @pytest.mark.parametrize(
        "path", ["/v1", "/v1/chat/completion", "/v1/embedding", "/v2/models/x", "/%00", "/admin/x"]
    )
    def test_unknown_paths(self, gateway: Running, path: str) -> None:
        answer = send(gateway, chat("chat"), path=path)
        refused(answer, 404, "unknown_url")
        if path == "/v1/chat/completion":
            assert "/v1/chat/completions" in answer.error["message"]

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/v1/chat/completions"), ("PUT", "/v1/chat/completions"), ("POST", "/v1/models"), ("DELETE", "/metrics"),
         ("POST", "/health/live")],
    )  # fmt: skip
    def test_wrong_methods(self, gateway: Running, method: str, path: str) -> None:
        refused(send(gateway, b"", method=method, path=path), 405, "method_not_allowed")

    @pytest.mark.parametrize(
        "model", ["nothing", "chta", "nobody/m", "gpt-4o", "x" * 300, "a\nb", "*", "one/"]
    )
    def test_unknown_models(self, gateway: Running, chaos: Chaos, model: str) -> None:
        answer = send(gateway, chat(model))
        assert answer.status == 404
        assert answer.error["code"] == "model_not_found"
        assert answer.error["param"] == "model"
        if model == "chta":
            assert "chat" in answer.error["message"]
        assert chaos.journal() == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [("x-holdfast-session", "a b"), ("x-holdfast-session", "x" * 65), ("x-holdfast-tags", "team"),
         ("x-holdfast-tags", ",".join(f"t{i}=1" for i in range(17)))],
    )  # fmt: skip
    def test_wrong_headers(self, gateway: Running, chaos: Chaos, name: str, value: str) -> None:
        refused(send(gateway, chat("chat"), headers={name: value}), 400, "invalid_request", name)
        assert chaos.journal() == []


class TestWebPages:
    """Without keys only this machine's own programs are answered: a page in a browser must not spend the user's money."""

    @pytest.mark.parametrize(
        "host", ["evil.test", "evil.test:8080", "127.0.0.1.evil.test", "192.168.1.7", "", "[::2]"]
    )
    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/metrics", "/openapi.json"])
    def test_other_hosts(self, gateway: Running, chaos: Chaos, host: str, path: str) -> None:
        method = "POST" if path.endswith("completions") else "GET"
        body = chat("chat") if method == "POST" else b""
        refused(send(gateway, body, method=method, path=path, headers={"host": host}), 403, "forbidden")
        assert chaos.journal() == []

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:80", "[::1]:9", "127.8.8.8"])
    def test_loopback_hosts(self, gateway: Running, host: str) -> None:
        assert send(gateway, method="GET", path="/v1/models", headers={"host": host}).status == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "https://evil.test"},
            {"origin": "null"},
            {"origin": "http://localhost:3000"},  # another program on this machine is another origin
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"origin": "https://evil.test", "content-type": "text/plain"},  # needs no preflight
        ],
        ids=str,
    )
    def test_other_origins(self, gateway: Running, chaos: Chaos, headers: dict[str, str]) -> None:
        refused(send(gateway, chat("chat"), headers=headers), 403, "forbidden")
        assert chaos.journal() == []

    def test_preflight(self, gateway: Running) -> None:
        headers = {"origin": "https://evil.test", "access-control-request-method": "POST"}
        answer = send(gateway, b"", method="OPTIONS", headers=headers)
        assert answer.status == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]

    def test_own_origin(self, gateway: Running) -> None:
        own = f"127.0.0.1:{gateway.port}"
        headers = {"host": own, "origin": f"http://{own}", "sec-fetch-site": "same-origin"}
        assert send(gateway, chat("chat"), headers=headers).status == 200


class TestKeys:
    @pytest.mark.parametrize(
        "value",
        [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic a2V5", KEYS["all"], f"Bearer {KEYS['all']}x"],
    )
    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/openapi.json", "/nowhere"])
    def test_none_or_unknown(self, keyed: Running, chaos: Chaos, value: str | None, path: str) -> None:
        headers = {} if value is None else {"authorization": value}
        refused(send(keyed, chat("chat"), path=path, headers=headers), 401, "invalid_api_key")
        assert chaos.journal() == []

    def test_probes_need_none(self, keyed: Running) -> None:
        assert send(keyed, method="GET", path="/health/live").status == 200
        assert send(keyed, method="GET", path="/health/ready").status == 200

    @pytest.mark.parametrize(
        ("key", "model", "may"),
        [
            ("all", "chat", True), ("all", "one/m-1", True),
            ("routes", "chat", True), ("routes", "CHAT", True), ("routes", "other", False), ("routes", "one/m-1", False),
            ("models", "one/m-1", True), ("models", "ONE/M-1", True), ("models", "one/x", False), ("models", "chat", False),
        ],
    )  # fmt: skip
    def test_restrictions(self, keyed: Running, chaos: Chaos, key: str, model: str, may: bool) -> None:
        answer = send(keyed, chat(model), headers={"authorization": f"Bearer {KEYS[key]}"})
        if may:
            assert answer.status == 200
            assert keyed.record(answer.id).intent.key == key
            assert len(chaos.journal()) == 1
            return
        refused(answer, 403, "forbidden", "model")
        assert chaos.journal() == []

    def test_models_are_listed_for_the_key(self, keyed: Running) -> None:
        def listed(key: str) -> set[str]:
            headers = {"authorization": f"Bearer {KEYS[key]}"}
            answer = send(keyed, method="GET", path="/v1/models", headers=headers)
            return {model["id"] for model in answer.json["data"]}

        assert {"chat", "other"} <= listed("all")
        assert listed("routes") == {"chat"}


POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"


class TestRawSockets:
    @pytest.mark.parametrize(
        "data",
        [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 100 + b"nonsense\r\n\r\n",
         POST + b"content-length: -1\r\n\r\n{}",
         POST + b"content-length: abc\r\n\r\n{}",
         POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
         POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}",
         b"GET / HTTP/1.1\r\n" + b"x" * 200_000],
        ids=range(9),
    )  # fmt: skip
    def test_garbage(self, gateway: Running, chaos: Chaos, data: bytes) -> None:
        """It ends with a 4xx or a closed connection; a body is never taken from what can't be framed."""

        async def talk() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                writer.write_eof()
            said = b""
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(5):
                    said = await reader.read()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            return said

        said = asyncio.run(talk())
        assert said == b"" or said.startswith(b"HTTP/1.1 4")
        assert b"Traceback" not in said
        assert chaos.journal() == []

    def test_a_slow_body(self, gateway: Running, chaos: Chaos) -> None:
        """Nobody may hold a request open by sending it byte by byte."""

        async def drip() -> Answer:
            client = await Client.connect(gateway.port)
            body = json.dumps(chat("chat")).encode()
            await client.send(request_bytes("POST", "/v1/chat/completions", body, {})[:-10])
            await client.head()
            answer = await client.rest()
            await client.close()
            return answer

        answer = asyncio.run(drip())
        refused(answer, 408, "request_timeout")
        assert READ_S <= answer.seconds < READ_S + 1
        assert chaos.journal() == []

    def test_half_a_body(self, gateway: Running, chaos: Chaos) -> None:
        async def leave() -> None:
            client = await Client.connect(gateway.port)
            body = json.dumps(chat("chat")).encode()
            await client.send(request_bytes("POST", "/v1/chat/completions", body, {})[:-10])
            client.leave()

        before = _refusals(gateway, "abandoned")
        asyncio.run(leave())
        for _ in range(200):  # its end reaches no observer: it was never accepted
            if _refusals(gateway, "abandoned") > before:
                break
        else:
            pytest.fail("the gateway never noticed")
        assert chaos.journal() == []


def _refusals(running: Running, reason: str) -> float:
    text = send(running, method="GET", path="/metrics").body.decode()
    lines = [
        line for line in text.splitlines() if line.startswith(f'holdfast_refused_total{{reason="{reason}"}}')
    ]
    return float(lines[0].split()[1]) if lines else 0.0


def test_refusals_are_counted_and_never_recorded(gateway: Running) -> None:
    """A refusal before the intent is a metric and a log line, not a row of the ledger."""
    accepted = gateway.counts().accepted
    for reason, body in (("invalid_request", b"{"), ("unknown_model", chat("nothing"))):
        before, logged = _refusals(gateway, reason), len(gateway.logs.text)
        send(gateway, body)
        assert _refusals(gateway, reason) == before + 1
        assert any(reason in text for text in gateway.logs.text[logged:])
    assert gateway.counts().accepted == accepted
