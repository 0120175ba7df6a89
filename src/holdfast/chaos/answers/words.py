"""Plain English that says nothing: for demonstrations and dashboards, where numbered tokens would be hard on the eye.

A text is a round of sentences with fixed places for nouns, verbs and so on; which word stands at a place is a function of
seed and place alone, so that a text of any length costs nothing until it is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.chaos.answers.tokens import Lazy

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Words"]

_KINDS = {
    "N": (
        "answer bridge candle city cloud coast copper engine evening field forest garden glacier grain harbour hill "
        "island kitchen ladder lake lamp letter library machine map market meadow mirror morning mountain museum "
        "needle ocean orchard paper path pebble pencil planet quarry rail river road roof sail school shadow ship "
        "signal stone storm street summer table theatre tower train valley village wall water weather window winter"
    ),
    "A": (
        "amber ancient brave bright broad calm careful clear cold curious deep distant eager early empty familiar "
        "gentle golden green heavy honest hollow humble late lively long narrow new old open pale patient plain "
        "quick quiet round sharp short silver slow small soft steady strange tall tidy warm wide wild young"
    ),
    "V": (
        "answers borrows builds carries catches changes colours counts covers crosses draws faces feeds fills finds "
        "follows guards guides holds joins keeps leaves lifts marks measures meets mends moves opens passes paints "
        "praises reaches rests shapes shares shelters shows sings stirs teaches touches turns wakes warms watches"
    ),
    "D": "almost always barely calmly gladly hardly nearly never often quietly rarely slowly sometimes soon still",
    "P": "above across after against along around before behind below beside beyond inside near over past through",
    "T": "the the the a every this that some",
}
_WORDS = {kind: tuple(words.split()) for kind, words in _KINDS.items()}
_ROUND = (
    "The A N D V T N.",
    "T N P the N V T A N, and T N V the N.",
    "D, T N V T N P the A N.",
    "When T N V the N, T A N V T N.",
    "The N of the N D V P T N.",
    "No N V T N but the A N.",
    "P T N the N V, for the N D V the A N.",
)
_PARAGRAPH = " ".join(_ROUND).split()
_VOWELS = frozenset("aeiou")
_MASK = (1 << 64) - 1
_SPELT = {
    word for place in _PARAGRAPH for word in ("an", *_WORDS.get(place.rstrip(".,"), (place.rstrip(".,"),)))
}
_ALL = "\0".join(
    word + end for word in sorted(_SPELT | {word.capitalize() for word in _SPELT}) for end in ("", ".", ",")
)
"""Whatever may stand between two spaces."""


class Words(Lazy):
    """``count`` words, each with the space after it; every seed's own."""

    def __init__(self, seed: int, count: int) -> None:
        super().__init__(count)
        self._seed = seed

    def first(self, count: int) -> Words:
        return Words(self._seed, count)

    def token(self, index: int) -> str:
        at = index % len(_PARAGRAPH)
        place = _PARAGRAPH[at]
        head = place.rstrip(".,")
        word = self._word(head, index)
        if word == "a":
            following = _PARAGRAPH[(at + 1) % len(_PARAGRAPH)]
            word = "an" if self._word(following.rstrip(".,"), index + 1)[0] in _VOWELS else "a"
        if _STARTS[at]:
            word = word.capitalize()
        return f"{word}{place[len(head) :]} "

    def may_hold(self, text: str) -> bool:
        return "\0" not in text and all(part in _ALL for part in text.split(" "))

    def _word(self, place: str, index: int) -> str:
        words: Sequence[str] | None = _WORDS.get(place)
        return place if words is None else words[_mixed(self._seed, index) % len(words)]


_STARTS = [at == 0 or _PARAGRAPH[at - 1].endswith(".") for at in range(len(_PARAGRAPH))]


def _mixed(seed: int, index: int) -> int:
    """Seed and place as one well-spread number (SplitMix64, Steele, Lea and Flood 2014)."""
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
