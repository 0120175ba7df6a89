"""What a step of a script may say about the answer itself, apart from faults."""

from typing import Any, Literal, Self

import msgspec

from holdfast.chaos.errors import ChaosError
from holdfast.chaos.limits import Count, Few, Positive, Probability, Rate, Seconds

__all__ = ["AnswerSettings", "Pace"]

_SAYS = ("text", "template", "bank", "echo", "prose", "words")
"""Each of these decides what the text is; where several are left standing, the first of them here does."""


class Pace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast an answer comes. At full speed by default."""

    delay: Seconds = 0.0
    """Seconds before the headers."""
    ttft: Seconds = 0.0
    """Seconds from there to the first token."""
    tps: Rate = 0.0
    """Tokens per second after it; 0: as fast as the socket takes them."""
    jitter: Probability = 0.0
    """Each of these pauses is this share longer or shorter at most, drawn uniformly: 0.2 is ± 20 %."""
    batch: Positive = 1
    """Tokens per write, so that they share a TCP segment."""


class AnswerSettings(Pace, frozen=True):
    """All optional; the defaults make a healthy answer at full speed."""

    tokens: Count | None = None
    """Tokens of text; the configuration's ``tokens`` by default. The request's max_tokens still caps it."""
    text: str | None = None
    """This text instead of numbered tokens."""
    prose: str | None = None
    """This text instead of numbered tokens, unless the request asks for structured output."""
    template: str | None = None
    """What this Jinja2 template makes of the request instead of numbered tokens; at most 1,048,576 characters."""
    bank: str | None = None
    """A recorded answer out of the configuration's bank of that name."""
    pick: Literal["match", "draw", "sequence"] = "match"
    """Which of the bank's rows that fit: the first (of those without a ``match``: by a seeded draw), always by a seeded
    draw, or one after the other by attempt."""
    echo: bool = False
    """What was understood of the request (the last user text, each image and file) instead of numbered tokens, unless it
    asks for structured output."""
    words: bool = False
    """Plain English words that mean nothing instead of numbered tokens, unless the request asks for structured output."""
    vary: bool = False
    """Structured output and tool arguments differ from attempt to attempt in all that their schema leaves open; ``prose``
    and ``echo`` end with the attempt's nonce."""
    reasoning: Count | None = None
    """Tokens of reasoning before the text; None: 4 where the request asks for thoughts, else 0."""
    redacted: Few = 0
    """Redacted thoughts after those that can be read, where a provider has such (Anthropic)."""
    preamble: Count = 0
    """Tokens of text before tool calls."""
    tools: Few | None = None
    """Tool calls to make where the request brings tools; None: one, if ``tool_choice`` demands it."""
    finish: str | None = None
    """This finish reason instead of the true one."""
    cached: Count = 0
    """Prompt tokens reported as cached (at most all of them)."""
    cache_written: Count = 0
    """Prompt tokens reported as written to the cache (at most what is left), where a provider tells that."""
    chance: Probability = 1.0
    """Probability that the step's faults happen at all."""

    def __post_init__(self) -> None:
        if self.template is not None:
            from holdfast.chaos.answers import template  # it needs Jinja2

            template.check(self.template)

    def over(self, own: dict[str, Any]) -> Self:
        """These settings with a step's ``own`` over them: what it says takes the place of all other ways to say
        something. Raises :class:`ChaosError` where it says two things at once."""
        said = [name for name in _SAYS if own.get(name)]
        if len(said) > 1:
            raise ChaosError(f"{said[0]!r} and {said[1]!r} both decide what the answer says: keep one")
        others = {name: _UNSAID[name] for name in _SAYS} if said else {}
        return msgspec.structs.replace(self, **{**others, **own})


_UNSAID: dict[str, Any] = {name: getattr(AnswerSettings(), name) for name in _SAYS}
