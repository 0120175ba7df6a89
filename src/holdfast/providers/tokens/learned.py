"""What providers bill for what was counted here, learnt model by model. Pure: no clock, no files."""

from __future__ import annotations

from collections import OrderedDict, deque
from statistics import median_low
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.providers.tokens.count import Count

__all__ = ["LEAST_COUNTED", "LEAST_RATIO", "MOST_MODELS", "MOST_RATIO", "SHIPPED", "Learned"]

SHIPPED: Final = 1_000
"""In thousandths: billed as counted. What is shipped is in the count itself, so everybody starts here."""
LEAST_RATIO: Final = 500
MOST_RATIO: Final = 2_000
"""No tokenizer is that far from what ships for it. A bill beyond says that other things were read than were counted
(a file, a cached text, a search's results), or that the provider lies; nothing is learnt of either."""
LEAST_COUNTED: Final = 64
"""In tokens. What a provider wraps a short prompt in says nothing about its tokenizer."""
MOST_MODELS: Final = 512
"""Models kept, the longest unseen dropped first: names come from callers."""

_WINDOW: Final = 31
"""Bills kept of each model. The median of so many stands firm against 10 wrong ones in a row."""
_PRIOR: Final = 11
"""Bills that the shipped ratio counts for, until real ones push it out."""
_NAME_CHARACTERS: Final = 256


class Learned:
    """The ratio of billed to counted input tokens for each model at each provider, in thousandths.

    It is the median of the last 31 believable bills, of which the shipped ratio stands for 11 at the start: a single bill,
    however absurd, moves nothing much, and a model's new tokenizer is followed after about twenty. One thread at a time.
    """

    def __init__(self) -> None:
        self._bills: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()

    def observe(self, model: str, provider: str, counted: int, billed: int) -> bool:
        """Learn of one answer: ``counted`` as :class:`Count` had it, ``billed`` all input tokens (cached ones included).

        Don't call it where a count says ``unseen``. True if it was believed: it isn't where there was too little to
        count, or where the two are further apart than tokenizers are.
        """
        if not (_is_count(counted) and _is_count(billed)) or counted < LEAST_COUNTED:
            return False
        ratio = (billed * 1_000 + counted // 2) // counted
        if not LEAST_RATIO <= ratio <= MOST_RATIO:
            return False
        key = _key(model, provider)
        bills = self._bills.get(key)
        if bills is None:
            bills = self._bills[key] = deque([SHIPPED] * _PRIOR, maxlen=_WINDOW)
            if len(self._bills) > MOST_MODELS:
                self._bills.popitem(last=False)
        bills.append(ratio)
        self._bills.move_to_end(key)
        return True

    def ratio(self, model: str, provider: str) -> int:
        """Thousandths, from 500 to 2,000; 1,000 where nothing is known."""
        bills = self._bills.get(_key(model, provider))
        return median_low(bills) if bills else SHIPPED

    def applied(self, count: Count, model: str, provider: str) -> Count:
        """``count`` with its tokens as they were learnt to be billed. Never above its upper bound, which stays.

        An exact count stays as it is.
        """
        ratio = self.ratio(model, provider)
        if count.kind == "exact" or ratio == SHIPPED:
            return count
        return replace(count, tokens=min(-(-count.tokens * ratio // 1_000), count.upper), kind="calibrated")

    def snapshot(self) -> dict[str, list[int]]:
        """Everything learnt, as JSON can hold it, the longest unseen first."""
        return {f"{provider}/{model}": list(bills) for (provider, model), bills in self._bills.items()}

    def restore(self, snapshot: Mapping[Any, Any]) -> None:
        """Take over what :meth:`snapshot` gave, in place of what is known. What isn't of that form is left out."""
        self._bills.clear()
        for name, bills in list(snapshot.items())[-MOST_MODELS:]:
            provider, slash, model = name.partition("/") if isinstance(name, str) else ("", "", "")
            if not slash or not isinstance(bills, list):
                continue
            kept = [
                each for each in bills[-_WINDOW:] if _is_count(each) and LEAST_RATIO <= each <= MOST_RATIO
            ]
            if kept:
                self._bills[_key(model, provider)] = deque(kept, maxlen=_WINDOW)


def _is_count(value: object) -> bool:
    """Whether it is a whole number above zero; providers have said ``true``, -1 and 1e308."""
    return type(value) is int and value > 0


def _key(model: str, provider: str) -> tuple[str, str]:
    return provider[:_NAME_CHARACTERS].lower(), model[:_NAME_CHARACTERS].lower()
