"""Where Redis is: read strictly, shown without what is secret."""

from __future__ import annotations

import ssl

import pytest

from holdfast.stores.redis_url import RedisAddress


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://10.0.0.7:7000/3", "redis://10.0.0.7:7000/3"),
        ("redis://[::1]:7000", "redis://[::1]:7000/0"),
        ("redis://us%65r:p%40ss@host", "redis://host:6379/0"),
        ("rediss://:canary@host:1/0?ssl_cert_reqs=none", "rediss://host:1/0"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock"),
        ("redis://host?db=4", "redis://host:6379/4"),
        ("redis://", "redis://localhost:6379/0"),
    ],
)
def test_shown_without_secrets(url, shown):
    """OP3."""
    assert str(RedisAddress.parse(url)) == shown


def test_its_parts():
    address = RedisAddress.parse("redis://us%65r:p%40ss%2F@host:7000/15")
    assert (address.user, address.host, address.port, address.db) == ("user", "host", 7000, 15)
    assert address.password is not None
    assert address.password.reveal() == "p@ss/"
    assert address.context() is None
    assert RedisAddress.parse("unix:///a%20b").path == "/a b"
    assert "p@ss" not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://canary@host",
        "redis://:canary@host:port",
        "redis://:canary@host/x",
        "redis://:canary@host/-1",
        "redis://:canary@host/99999999",
        "redis://:canary@host?socket_timeout=1",
        "redis://:canary@host?ssl_ca_certs=x",
        "rediss://:canary@host?ssl_cert_reqs=perhaps",
        "rediss://:canary@host?ssl_check_hostname=perhaps",
        "redis://[canary",
        "unix://",
        "canary",
        "",
    ],
)
def test_what_is_none_is_not_quoted(url):
    """OP3: it may hold a password."""
    with pytest.raises(ValueError, match="URL of Redis") as caught:
        RedisAddress.parse(url)
    assert "canary" not in str(caught.value)


def test_tls_is_checked_unless_it_says_otherwise():
    context = RedisAddress.parse("rediss://host").context()
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    context = RedisAddress.parse("rediss://host?ssl_cert_reqs=none").context()
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    context = RedisAddress.parse("rediss://host?ssl_check_hostname=false").context()
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        RedisAddress.parse("rediss://host?ssl_ca_certs=/nowhere").context()
