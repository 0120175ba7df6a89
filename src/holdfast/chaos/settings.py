"""What a step of a script may say about the answer itself, apart from faults."""

import msgspec

from holdfast.chaos.limits import Count, Few, Positive, Probability, Rate, Seconds

__all__ = ["AnswerSettings"]


class AnswerSettings(msgspec.Struct, frozen=True):
    """All optional; the defaults make a healthy answer at full speed."""

    tokens: Count | None = None
    """Tokens of text; the configuration's ``tokens`` by default. The request's max_tokens still caps it."""
    text: str | None = None
    """This text instead of numbered tokens."""
    prose: str | None = None
    """This text instead of numbered tokens, unless the request asks for structured output."""
    reasoning: Count = 0
    """Tokens of ``reasoning_content`` before the text."""
    tools: Few | None = None
    """Tool calls to make where the request brings tools; None: one, if ``tool_choice`` demands it."""
    finish: str | None = None
    """This finish reason instead of the true one."""
    cached: Count = 0
    """Prompt tokens reported as cached (at most all of them)."""
    ttft: Seconds = 0.0
    """Seconds to the first token."""
    tps: Rate = 0.0
    """Tokens per second after it; 0: as fast as the socket takes them."""
    batch: Positive = 1
    """Tokens per write, so that they share a TCP segment."""
    chance: Probability = 1.0
    """Probability that the step's faults happen at all."""
