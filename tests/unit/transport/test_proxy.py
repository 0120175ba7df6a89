"""What a proxy is, as a value: parsed, and never printed; and what its answer to CONNECT means, however it is cut."""

from __future__ import annotations

import base64
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.transport.raw_server import post

from holdfast.transport import Origin, Proxy
from holdfast.transport.proxy import authority_of
from holdfast.transport.tunnel import MAX_PROXY_HEAD_BYTES, verdict

PASSWORD = "p@ss:word/canary"  # made up
LOGIN = f"me:{PASSWORD}"
URL_LOGIN = "me:p%40ss%3Aword%2Fcanary"


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy.test", Proxy("http", "proxy.test", 80)),
        ("https://Proxy.test/", Proxy("https", "proxy.test", 443)),
        ("http://[::1]:3128", Proxy("http", "::1", 3128)),
    ],
)
def test_proxy_of_a_url(url, proxy):
    assert Proxy.parse(url) == proxy
    assert proxy.authorization == b""
    assert proxy.secrets == ()


def test_a_proxys_login():
    proxy = Proxy.parse(f"http://{URL_LOGIN}@proxy.test:3128")
    assert proxy.credentials.reveal() == LOGIN
    assert proxy.authorization == b"Basic bWU6cEBzczp3b3JkL2NhbmFyeQ=="
    assert [secret.reveal() for secret in proxy.secrets] == [LOGIN, PASSWORD, "bWU6cEBzczp3b3JkL2NhbmFyeQ=="]
    assert Proxy.parse("http://b\u00f6b:\u20ac@p").authorization == b"Basic YsO2Yjrigqw="
    assert Proxy.parse("http://token@p").credentials.reveal() == "token:"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "proxy.test:3128",
        "socks5://me:canary@proxy.test",
        "http://",
        "http://me:canary@",
        "http://me:canary/pass@proxy.test",
        "http://me:8/canary@proxy.test",
        "http://me:canary#pass@proxy.test",
        "http://me:canary?pass@proxy.test",
        "http://me:canary@proxy.test:99999",
        "http://me:canary@proxy.test:port",
        "http://me:canary@proxy.test/canary",
        "http://me:canary@proxy.test?canary",
        "http://me:can\nary@proxy.test",
        "http://me:canary @proxy.test",
        "http://m%3Ae:canary@proxy.test",
        "http://me:canary%0d%0ax: y@proxy.test",
        "http://me:canary%0D%0A@proxy.test",
        "http://[::1:canary@",
        "me:canary@proxy.test",
        "canary:me@proxy.test",
    ],
)
def test_what_is_no_proxy_is_said_without_quoting_it(url):
    with pytest.raises(ValueError, match="proxy") as caught:
        Proxy.parse(url)
    error = caught.value
    assert "canary" not in f"{error}{error.__cause__}"
    assert error.__suppress_context__ or error.__context__ is None


def test_a_login_shows_nowhere():
    origin = Origin.parse("https://api.test", proxy=Proxy.parse(f"http://{URL_LOGIN}@proxy.test:3128"))
    request = post(origin)
    printed = [str, repr, "{}".format, "{!r}".format, lambda x: str(getattr(x, "__rich_repr__", list)())]
    for value in (origin, origin.proxy, request, origin.proxy.secrets):
        for show in printed:
            text = show(value)
            assert "canary" not in text
            assert "bWU6" not in text
    assert str(origin.proxy) == "http://proxy.test:3128"
    assert str(origin) == "https://api.test"
    with pytest.raises(TypeError):
        msgspec.json.encode(origin)


def test_authority():
    assert (authority_of("a", 1), authority_of("::1", 2)) == ("a:1", "[::1]:2")


VERDICTS = {
    b"HTTP/1.1 200 OK\r\n\r\n": 200,
    b"HTTP/1.0 204\r\na: b\r\n\r\n": 204,
    b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 103 \r\n\r\nHTTP/1.1 407 No\r\n\r\n": 407,
    b"HTTP/1.1 101 Switch\r\n\r\n": 101,
    b"HTTP/1.1 599 \xff\r\n\r\n": 599,
    b"HTTP/1.1 600 No\r\n\r\n": "answered with something that isn't HTTP",
    b"HTTP/1.1 099 No\r\n\r\n": "answered with something that isn't HTTP",
    b"HTTP/1.1  200 OK\r\n\r\n": "answered with something that isn't HTTP",
    b"HTTP/1.1 200 O\rK\r\n\r\n": "answered with something that isn't HTTP",
    b"\r\n\r\n": "answered with something that isn't HTTP",
    b"HTTP/1.1 100 \r\n\r\nnonsense": "answered with something that isn't HTTP",
}


@pytest.mark.parametrize("said", VERDICTS)
def test_a_verdict_is_there_with_its_last_byte(said):
    for size in range(len(said)):
        assert verdict(said[:size]) in (None, VERDICTS[said])
        assert verdict(said[:size]) is None or isinstance(VERDICTS[said], str)
    assert verdict(said) == VERDICTS[said]


def test_a_no_may_have_a_body_and_a_yes_may_not():
    assert verdict(b"HTTP/1.1 403 No\r\n\r\nbecause") == 403
    assert verdict(b"HTTP/1.1 200 OK\r\n\r\n\x16") == "sent bytes of its own into the tunnel"


def test_a_head_has_a_limit():
    head = b"HTTP/1.1 200 OK\r\na: "
    whole = head + b"x" * (MAX_PROXY_HEAD_BYTES - len(head) - 4) + b"\r\n\r\n"
    assert verdict(whole) == 200
    assert str(MAX_PROXY_HEAD_BYTES) in str(verdict(head + b"x" * MAX_PROXY_HEAD_BYTES))


@given(st.binary(max_size=200) | st.binary(max_size=50).map(lambda data: b"HTTP/1.1 200 OK\r\n" + data))
def test_any_bytes_have_a_verdict(said):
    result = verdict(said)
    assert result is None or isinstance(result, str) or 100 < result <= 599


@given(user=st.text().filter(str.isprintable), password=st.text().filter(str.isprintable))
def test_any_login_survives_its_url(user, password):
    user = user.replace(":", "")
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    proxy = Proxy.parse(f"http://{login}@proxy.test:3128")
    assert proxy.credentials.reveal() == f"{user}:{password}"
    assert base64.b64decode(proxy.authorization.removeprefix(b"Basic ")).decode() == f"{user}:{password}"
