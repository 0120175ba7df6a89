"""Chance among steps: each alternative has exactly the share of attempts that it is given, also when it comes in bursts.

A burst of length L is drawn once for each block of L attempts of a key (1 to L, L+1 to 2L, …): all of them get the
alternative, or none does. So an alternative of 5 % in bursts of 8 spoils 5 % of all attempts, eight in a row each time.

The alternatives are drawn one after the other, each with the share that is left to it given that those before it were not
drawn; so their shares are exact and they may have bursts of different lengths. Those without bursts share one draw. Where
two bursts meet, the longer one goes first: the shorter gets what is left of its block.
"""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from holdfast.chaos.draws import Draw
from holdfast.chaos.errors import ChaosError
from holdfast.chaos.limits import Positive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Burst", "Mix", "Percent", "Share", "share"]

Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Burst = Positive
_SLACK = 1e-9  # percents are decimal fractions, sums of floats aren't


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"settings": "with"}):
    """How often something happens."""

    pct: Percent
    """Of all attempts, in percent; exact."""
    burst: Burst = 1
    """Attempts of a key that get it in a row."""
    settings: str = ""
    """What follows the step's name, such as ``retry-after=1``. Written ``with``."""


class Mix:
    """Alternatives with their shares. ``choose`` says which one an attempt gets; None: none of them."""

    def __init__(self, alternatives: "Iterable[tuple[Share, Any]]") -> None:
        """Raises :class:`ChaosError` where the shares are more than 100 %."""
        given = list(alternatives)
        total = sum(share.pct for share, _ in given)
        if total > 100 + _SLACK:
            raise ChaosError(f"the shares add up to {total:g} %; 100 % is all there is")
        longest_first = sorted(given, key=lambda alternative: -alternative[0].burst)
        self._bursts = [(part.pct / 100, part.burst, what) for part, what in longest_first if part.burst > 1]
        self._others = [(part.pct / 100, what) for part, what in given if part.burst == 1]

    @property
    def alternatives(self) -> list[Any]:
        """All of them, whatever their shares."""
        return [what for _, _, what in self._bursts] + [what for _, what in self._others]

    def __bool__(self) -> bool:
        return bool(self._bursts or self._others)

    def choose(self, seed: int, key: str, attempt: int, scale: float = 1.0) -> Any:
        """The alternative for that attempt, every share times ``scale`` (0 to 1)."""

        def draw(number: int) -> float:
            if number == len(self._bursts):
                return Draw(seed, key, attempt).unit("mix")
            burst = self._bursts[number][1]
            return Draw(seed, f"{key}\0{burst}", (attempt - 1) // burst).unit(f"burst {number}")

        return self.pick(draw, scale)

    def pick(self, draw: "Callable[[int], float]", scale: float = 1.0) -> Any:
        """The alternative that these draws decide on: one for each burst, the last one for all others together."""
        left = 1.0
        for number, (part, _, what) in enumerate(self._bursts):
            if draw(number) * left < part * scale:
                return what
            left -= part * scale
        if not self._others:
            return None
        at = draw(len(self._bursts)) * left
        for part, what in self._others:
            at -= part * scale
            if at < 0:
                return what
        return None


def share(given: Any) -> Share:
    """From a number of percent, or a table. Raises :class:`ChaosError`."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        given = {"pct": given}
    try:
        return msgspec.convert(given, Share)
    except msgspec.ValidationError as error:
        raise ChaosError(
            f"a share is a number of percent, or {{pct = 5, burst = 8}}: {str(error).replace(' - at `$.', ' - at `')}"
        ) from None
