"""Network links of one's own, where the machine lets us make them: taken down, they drop packets as a cut cable does.

A namespace holds the server's end of each link; clients stay where they are, and reach the server by one address for each
link. Needs ``ip`` and the right to use it.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Links", "links"]

_NUMBERS: Final = itertools.count()
_NET: Final = int(IPv4Address("198.18.0.0"))  # RFC 2544: for such tests, /15


class Links:
    """``count`` links to a namespace.

    Attributes:
        within: what a command that is to run there begins with.
        addresses: the namespace's, one for each link.
    """

    def __init__(self, count: int) -> None:
        self._name = f"hf{os.getpid()}n{next(_NUMBERS)}"
        self._first = _NET + ((os.getpid() & 0x3FFF) << 3)
        self.within = ("ip", "netns", "exec", self._name)
        self.addresses = [str(IPv4Address(self._first + 4 * number + 2)) for number in range(count)]

    def make(self) -> None:
        """Raises OSError, CalledProcessError: the machine doesn't allow it."""
        _ip("netns", "add", self._name)
        _ip("-n", self._name, "link", "set", "lo", "up")
        for number, address in enumerate(self.addresses):
            outer, inner = f"hf{os.getpid()}{'ab'[number]}", f"in{number}"
            _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", self._name)
            _ip("addr", "add", f"{IPv4Address(self._first + 4 * number + 1)}/30", "dev", outer)
            _ip("link", "set", outer, "up")
            _ip("-n", self._name, "addr", "add", f"{address}/30", "dev", inner)
            _ip("-n", self._name, "link", "set", inner, "up")

    def down(self, number: int) -> None:
        """The far end is down: what is sent there is lost, and nobody says so."""
        _ip("-n", self._name, "link", "set", f"in{number}", "down")

    def up(self, number: int) -> None:
        _ip("-n", self._name, "link", "set", f"in{number}", "up")

    def remove(self) -> None:
        """The namespace and, with it, its links."""
        subprocess.run(["ip", "netns", "del", self._name], check=False, capture_output=True)


@contextmanager
def links(count: int) -> Iterator[Links | str]:
    """Links for the block; where there can't be any, why."""
    made = Links(count)
    try:
        made.make()
    except (OSError, subprocess.CalledProcessError) as error:
        made.remove() if not isinstance(error, FileNotFoundError) else None
        yield f"no network namespaces here ({getattr(error, 'stderr', None) or error})"
        return
    try:
        yield made
    finally:
        made.remove()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30)
