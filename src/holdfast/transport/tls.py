"""Whose certificates are believed."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import ConnectFailed

if TYPE_CHECKING:
    from holdfast.transport.base import Origin

__all__ = ["Trust", "check_ca_file", "tls_context"]


def tls_context(
    *, ca_file: Path | str | None = None, only: Path | str | None = None, verify: bool = True
) -> ssl.SSLContext:
    """What TLS connections are made with; ALPN says HTTP/1.1.

    Args:
        ca_file: PEM file of roots to trust beside the system's.
        only: PEM file of roots to trust instead of the system's.
        verify: False accepts any certificate: for tests on one's own machine.

    Raises:
        OSError: a file can't be read (``ssl.SSLError``: is no PEM).
    """
    context = ssl.create_default_context(cafile=only)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def check_ca_file(path: Path | str) -> None:
    """Returns if connections can be made with the certificates in ``path`` as their roots.

    Raises:
        ValueError: they can't; the message is a sentence that begins with the path and says why.
    """
    if (problem := _problem(path)) is not None:
        raise ValueError(problem)


class Trust:
    """One context for each file, made at its first use and kept: a file that changes is read at the next start.

    ``ca_file`` and ``verify`` count for origins that have no file of their own, as :func:`tls_context` has them.
    """

    def __init__(self, *, ca_file: Path | str | None = None, verify: bool = True) -> None:
        self._ca_file = ca_file
        self._verify = verify
        self._contexts: dict[tuple[str | None, bool], ssl.SSLContext] = {}

    def of_origin(self, origin: Origin) -> ssl.SSLContext:
        """Raises ``ConnectFailed`` where a file can't be used."""
        return self._context(origin.ca_file, proxy=False)

    def of_proxy(self, origin: Origin) -> ssl.SSLContext:
        """For TLS to ``origin``'s proxy: the system's roots and those of its file, because a house that signs what passes
        through its proxy mostly signs the proxy's own certificate too, and a rented proxy has a public one.
        """
        return self._context(origin.ca_file, proxy=True)

    def _context(self, own: str | None, *, proxy: bool) -> ssl.SSLContext:
        if own is None:
            proxy = False  # the same roots then
        context = self._contexts.get((own, proxy))
        if context is None:
            context = self._contexts[own, proxy] = self._make(own, proxy=proxy)
        return context

    def _make(self, own: str | None, *, proxy: bool) -> ssl.SSLContext:
        beside = own if proxy else None
        try:
            return tls_context(
                only=None if proxy else own,
                ca_file=beside if own is not None else self._ca_file,
                verify=self._verify,
            )
        except OSError as error:
            path = own if own is not None else self._ca_file
            why = (_problem(path) if path is not None else None) or f"no TLS: {error}"
            raise ConnectFailed(why) from error


def _problem(path: Path | str) -> str | None:
    file = Path(path)
    try:
        if not file.exists():
            return f"{path} does not exist: ca_file names a PEM file of CA certificates"
        if not file.is_file():  # opening a FIFO would wait for its writer
            return f"{path} is no file: ca_file names a PEM file of CA certificates"
        with file.open("rb"):
            pass  # what OpenSSL says of a file that may not be read is less clear
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        return f"{path} holds no certificates in PEM form (-----BEGIN CERTIFICATE-----), or a damaged one"
    except OSError as error:
        return f"{path} can't be read: {error.strerror or error}"
    if not context.cert_store_stats()["x509"]:
        return f"{path} holds no certificates, only revocation lists"
    return None
