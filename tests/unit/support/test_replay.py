"""The stand-in provider says what it was told to, cut as it was told to, and keeps what it was asked."""

from __future__ import annotations

import http.client
import json
import socket

import httpx2
import pytest
from tests.support.replay import Recorded, at, every, json_answer, replaying, sse_answer, whole

EVENTS = [{"type": "response.created", "n": 1}, {"type": "response.completed", "text": "grün"}]
SSE = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in EVENTS).encode()


def raw(port: int, request: bytes) -> list[bytes]:
    """What comes, read by read, until the server closes."""
    pieces = []
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(request)
        while piece := sock.recv(65_536):
            pieces.append(piece)
    return pieces


def test_answers_by_method_and_path_and_keeps_the_requests():
    script = {
        ("POST", "/v1/embeddings"): json_answer({"data": []}, headers={"x-request-id": "r1"}),
        ("GET", "/v1/embeddings"): json_answer({"error": "no"}, 405),
    }
    with replaying(script) as server, httpx2.Client(base_url=server.base_url) as client:
        answer = client.post("/v1/embeddings?a=1&b=&a=2", json={"input": "x"}, headers={"X-Key": "k"})
        assert (answer.status_code, answer.json(), answer.headers["x-request-id"]) == (
            200,
            {"data": []},
            "r1",
        )
        assert client.get("/v1/embeddings").status_code == 405
        assert client.get("/elsewhere").status_code == 404
        one, two, three = server.wait_for(3)
        assert (one.method, one.path, one.query) == ("POST", "/v1/embeddings", {"a": "2", "b": ""})
        assert (one.json, one.headers["x-key"]) == ({"input": "x"}, "k")
        assert (two.method, two.body, three.path) == ("GET", b"", "/elsewhere")
        assert server.connections == 1
        with pytest.raises(TimeoutError, match="3 of 4"):
            server.wait_for(4, timeout=0.01)


def test_several_answers_are_given_in_turn_and_the_last_one_again():
    script = {("POST", "/x"): [json_answer(1, 500), json_answer(2)]}
    with replaying(script) as server, httpx2.Client(base_url=server.base_url) as client:
        assert [client.post("/x").json() for _ in range(3)] == [1, 2, 2]
        server.script = {("POST", "/x"): json_answer(3)}
        assert client.post("/x").json() == 3


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("cut", [whole, every(1), every(7), at(3, 60, 61)], ids=["whole", "1", "7", "at"])
def test_a_stream_is_the_same_however_it_is_cut_and_framed(framing, cut):
    script = {("POST", "/v1/responses"): sse_answer(EVENTS, named=True, cut=cut, framing=framing)}
    with replaying(script) as server, httpx2.Client(base_url=server.base_url) as client:
        for _ in range(2):
            answer = client.post("/v1/responses")
            assert (answer.content, answer.headers["content-type"]) == (SSE, "text/event-stream")
        assert server.connections == (2 if framing == "close" else 1)


def test_cuts():
    assert list(every(2)(b"abcde")) == [b"ab", b"cd", b"e"]
    assert list(at(1, 3, 3, 9, 0)(b"abcde")) == [b"a", b"bc", b"de"]
    for cut in (whole, every(2), at(1)):
        assert list(cut(b"")) == []


def test_each_segment_is_a_chunk_and_a_stop_comes_before_the_rest():
    answer = sse_answer(["a", "[DONE]"], cut=every(9), stop_after=1)
    with replaying({("POST", "/x"): answer}) as server:
        got = b"".join(raw(server.port, b"POST /x HTTP/1.1\r\ncontent-length: 0\r\n\r\n"))
    assert got.partition(b"\r\n\r\n")[2] == b"9\r\ndata: a\n\n\r\n"


def test_a_chunked_request_and_head():
    with replaying({("POST", "/x"): Recorded(b"ok"), ("HEAD", "/"): Recorded(b"ok")}) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        client.request("HEAD", "/")
        assert client.getresponse().read() == b""
        client.request(
            "POST",
            "/x",
            body=iter([b"ab", b"c"]),
            encode_chunked=True,
            headers={"transfer-encoding": "chunked"},
        )
        assert client.getresponse().read() == b"ok"
        client.close()
        assert [(request.method, request.body) for request in server.requests] == [
            ("HEAD", b""),
            ("POST", b"abc"),
        ]


def test_a_request_that_cant_be_read_fails_the_test():
    with pytest.raises(ValueError, match="not enough values"), replaying({}) as server:
        assert raw(server.port, b"nonsense\r\n\r\n") == []
