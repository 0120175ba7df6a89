"""Texts: of a length, of a pattern, or of a format; those that are free carry the attempt's nonce."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.chaos.schemas.automaton import compiled
from holdfast.chaos.schemas.errors import ImpossibleError
from holdfast.chaos.schemas.words import LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from holdfast.chaos.schemas.form import Form

__all__ = ["texts"]

_TRIES = 40
_NICE = "abcdefghijklmnopqrstuvwxyz0123456789"
_FORMATS = {
    "base64": "Y2hhb#M#",
    "base64url": "Y2hhb#M#",
    "binary": "Y2hhb#M#",
    "byte": "Y2hhb#M#",
    "date": "2025-0#-1#",
    "date-time": "2025-0#-1#T1#:2#:3#Z",
    "decimal": "##.#",
    "directory-path": "/",
    "duration": "P#DT#H",
    "email": "someone.#@example.com",
    "hostname": "www#.example.com",
    "idn-email": "someone.#@example.com",
    "idn-hostname": "www#.example.com",
    "ipv4": "192.0.2.#",
    "ipv4interface": "192.0.2.#/24",
    "ipv4network": "192.0.#.0/24",
    "ipv6": "2001:db8::#",
    "ipv6interface": "2001:db8::#/64",
    "ipv6network": "2001:db8:#::/64",
    "ipvanyaddress": "192.0.2.#",
    "ipvanyinterface": "192.0.2.#/24",
    "ipvanynetwork": "192.0.#.0/24",
    "iri": "https://example.com/#",
    "iri-reference": "/#",
    "json-pointer": "/#",
    "json-string": '"#"',
    "local-date-time": "2025-0#-1#T1#:2#:3#",
    "local-time": "1#:2#:3#",
    "multi-host-uri": "postgres://example.com:5432/#",
    "regex": "^#$",
    "relative-json-pointer": "#/a",
    "time": "1#:2#:3#Z",
    "uri": "https://example.com/#",
    "uri-reference": "/#",
    "uri-template": "https://example.com/{id}/#",
    "url": "https://example.com/#",
    "uuid": "########-####-4###-8###-############",
    "uuid1": "########-####-1###-8###-############",
    "uuid3": "########-####-3###-8###-############",
    "uuid4": "########-####-4###-8###-############",
    "uuid5": "########-####-5###-8###-############",
    "uuid6": "########-####-6###-8###-############",
    "uuid7": "########-####-7###-8###-############",
    "uuid8": "########-####-8###-8###-############",
}
"""Examples; each ``#`` is a digit from 1 to 9."""


def texts(form: Form, free: str, chance: Random, *, vary: bool) -> Iterator[str]:
    """Different texts, the plainest first; ``free`` where nothing is said but a length."""
    least, high = form.length
    most = LARGEST if high is None else min(high, LARGEST)
    if most < least:
        raise ImpossibleError(f"no text of {least} to {most} characters")
    plain = free.ljust(least, ".")[:most]
    if form.patterns:
        yield from _fitting(form.patterns, plain, least, most, chance)
        return
    example = _FORMATS.get(form.format or "")
    if example is not None:
        yield from (_filled(example, chance if vary or i else None) for i in range(_TRIES))
    yield plain
    for _ in range(_TRIES):
        length = chance.randint(least, min(most, least + 8))
        yield "".join(chance.choice(_NICE) for _ in range(length))


def _fitting(patterns: tuple[str, ...], plain: str, least: int, most: int, chance: Random) -> Iterator[str]:
    found = [compiled(pattern) for pattern in patterns]
    if all(pattern.found_in(plain) for pattern in found):
        yield plain
    for pattern in found:
        for _ in range(_TRIES):
            yield pattern.made(least, most, chance)


def _filled(example: str, chance: Random | None) -> str:
    head, *rest = example.split("#")
    digits = ("1" if chance is None else chance.choice("123456789") for _ in rest)
    return head + "".join(digit + part for digit, part in zip(digits, rest, strict=True))
