"""Which files of certificates are taken, and what is said of the others."""

from __future__ import annotations

import asyncio
import os

import pytest
import trustme
from tests.unit.transport.raw_server import open_transport, post

from holdfast.errors import ConnectFailed
from holdfast.transport import Origin, check_ca_file, tls_context
from holdfast.transport.proxy import Proxy
from holdfast.transport.tls import Trust

HTTPS = Origin("https", "127.0.0.1", 1)


@pytest.fixture(scope="module")
def pem():
    return trustme.CA().cert_pem.bytes()


def names_of(context) -> set[str]:
    return {
        dict(pair[0] for pair in ca["subject"])["organizationalUnitName"] for ca in context.get_ca_certs()
    }


def write(folder, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def test_files_that_will_do(tmp_path, pem):
    check_ca_file(write(tmp_path, "one.pem", pem))
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(b"# two of them\n" + pem + b"\n" + trustme.CA().cert_pem.bytes())
    check_ca_file(bundle)
    (tmp_path / "link.pem").symlink_to(bundle)  # as secrets are mounted
    check_ca_file(tmp_path / "link.pem")


BAD = {
    "missing": "does not exist",
    "a folder": "is no file",
    "a pipe": "is no file",
    "empty": "holds no certificates",
    "text": "holds no certificates",
    "key": "holds no certificates",
    "damaged": "damaged",
    "good, then damaged": "damaged",
    "DER": "holds no certificates",
    "a link to itself": "does not exist",
    "nul\0": "does not exist",
}


@pytest.mark.parametrize("kind", BAD)
def test_files_that_wont_are_said_with_their_path_and_why(tmp_path, pem, kind):
    path = str(tmp_path / "ca.pem")
    damaged = pem.replace(b"\n", b"\n!!", 3)
    match kind:
        case "a folder":
            (tmp_path / "ca.pem").mkdir()
        case "a pipe":
            os.mkfifo(path)
        case "a link to itself":
            (tmp_path / "ca.pem").symlink_to(path)
        case "nul\0":
            path += "\0"
        case "missing":
            pass
        case _:
            contents = {
                "empty": b"",
                "text": b"no certificate at all\n",
                "key": trustme.CA().private_key_pem.bytes(),
                "damaged": damaged,
                "good, then damaged": pem + damaged,
                "DER": bytes(range(256)),
            }
            write(tmp_path, "ca.pem", contents[kind])
    with pytest.raises(ValueError, match=BAD[kind]) as caught:
        check_ca_file(path)
    assert str(caught.value).startswith(f"{path} ")


def test_a_file_takes_the_place_of_the_systems_roots_or_stands_beside_them(tmp_path, pem):
    path = write(tmp_path, "ca.pem", pem)
    system = len(tls_context().get_ca_certs())
    assert len(tls_context(only=path).get_ca_certs()) == 1
    assert len(tls_context(ca_file=path).get_ca_certs()) == system + 1


def test_one_context_for_each_file_and_the_systems_beside_it_for_proxies_only(tmp_path, pem):
    one, other, ours = (
        write(tmp_path, name, ca)
        for name, ca in (("1", pem), ("2", pem), ("3", trustme.CA().cert_pem.bytes()))
    )
    system = len(tls_context().get_ca_certs())
    trust = Trust(ca_file=ours)
    proxy = Proxy("https", "p", 443)
    ways = [Origin("https", "a", 443, way, file) for way in (None, proxy) for file in (one, other, None)]
    contexts = [trust.of_origin(way) for way in ways]
    assert contexts[:3] == contexts[3:]
    assert len(set(contexts)) == 3
    assert [len(context.get_ca_certs()) for context in contexts[:3]] == [1, 1, system + 1]
    assert len(trust.of_proxy(ways[3]).get_ca_certs()) == system + 1
    assert trust.of_proxy(ways[3]) is trust.of_proxy(ways[3])
    assert trust.of_proxy(ways[5]) is trust.of_origin(ways[5])


def test_no_certificate_is_asked_for_where_none_is_to_be_checked(tmp_path, pem):
    path = write(tmp_path, "ca.pem", pem)
    trust = Trust(verify=False)
    for origin in (HTTPS, Origin("https", "a", 443, None, path)):
        context = trust.of_origin(origin)
        assert (context.check_hostname, context.verify_mode.name) == (False, "CERT_NONE")


@pytest.mark.parametrize("own", [True, False], ids=["the origin's", "the transport's"])
def test_a_file_that_went_away_is_a_failed_connect_that_names_it(tmp_path, pem, own):
    path = str(tmp_path / "ca.pem")
    origin = Origin("https", "127.0.0.1", 1, None, path if own else None)

    async def main():
        async with open_transport(ca_file=None if own else path) as transport:
            for says in (
                "does not exist",
                "Connect call failed",
            ):  # it is looked for again: a mount may come late
                with pytest.raises(ConnectFailed, match=says) as caught:
                    await transport.send(post(origin), connect_s=5)
                assert (path in str(caught.value)) == (says != "Connect call failed")
                write(tmp_path, "ca.pem", pem)

    asyncio.run(main())
