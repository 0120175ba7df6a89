"""OpenAI's encodings as tiktoken's own, made of the vocabularies that come with the package."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from holdfast.providers.tokens.ranks import load_ranks

if TYPE_CHECKING:
    import tiktoken

__all__ = ["PATTERNS", "EncodingName", "Pattern", "encoding"]

EncodingName = Literal["cl100k_base", "o200k_base"]


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """How an encoding cuts a text into pieces, each of which is encoded by itself."""

    words: tuple[str, ...]
    """Everything but spaces, tried in this order."""
    spaces: str
    """Spaces up to a line's end."""
    specials: dict[str, int]

    @property
    def regex(self) -> str:
        return "|".join((*self.words, self.spaces, *_SPACES))


_SPACES: Final = (r"\s++$", r"(?=\s\s)(?:\s{512}(?=\s))*+(?:\s(?=\s))*+", r"\s")
r"""Spaces to the end of the text; or all but the last before a word; or that last one.

The published patterns say the second as ``\s+(?!\S)``. It matches the same, but remembers each space to come back to, and
breaks down with a panic at 500,000 of them. This one goes in strides of 512, then one by one, and never back.
"""

_MARKED_UPPER: Final = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"
_MARKED_LOWER: Final = r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_CONTRACTION: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

PATTERNS: Final[dict[EncodingName, Pattern]] = {
    "cl100k_base": Pattern(
        words=(
            r"'(?i:[sdmt]|ll|ve|re)",
            r"[^\r\n\p{L}\p{N}]?+\p{L}++",
            r"\p{N}{1,3}+",
            r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
        ),
        # Before a line's end, as the published pattern has it: text that ends in spaces is one piece.
        spaces=r"\s++$|\s*[\r\n]",
        specials={
            "<|endoftext|>": 100_257,
            "<|fim_prefix|>": 100_258,
            "<|fim_middle|>": 100_259,
            "<|fim_suffix|>": 100_260,
            "<|endofprompt|>": 100_276,
        },
    ),
    "o200k_base": Pattern(
        words=(
            rf"[^\r\n\p{{L}}\p{{N}}]?[{_MARKED_UPPER}]*[{_MARKED_LOWER}]+{_CONTRACTION}",
            rf"[^\r\n\p{{L}}\p{{N}}]?[{_MARKED_UPPER}]+[{_MARKED_LOWER}]*{_CONTRACTION}",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        ),
        spaces=r"\s*[\r\n]+",
        specials={"<|endoftext|>": 199_999, "<|endofprompt|>": 200_018},
    ),
}
"""As published with tiktoken, but for the spaces."""

_loaded: dict[EncodingName, tiktoken.Encoding] = {}
_loading: Final = Lock()


def encoding(name: EncodingName) -> tiktoken.Encoding:
    """The encoding, loaded at the first call: 0.3 s and 70 MB for ``o200k_base``, half of it for ``cl100k_base``.

    Its ``encode_ordinary`` and its decoding of tokens are what it is for: it doesn't pickle. Threads may share it.

    Raises:
        RanksDamaged: the vocabulary isn't what was shipped.
    """
    found = _loaded.get(name)
    if found is not None:
        return found
    with _loading:  # threads that come while it loads wait, and don't load it again
        found = _loaded.get(name)
        if found is None:
            found = _loaded[name] = _load(name)
        return found


def _load(name: EncodingName) -> tiktoken.Encoding:
    import tiktoken  # here, because most programs never count

    ranks = load_ranks(name)
    pattern = PATTERNS[name]
    loaded = tiktoken.Encoding(
        name, pat_str=pattern.regex, mergeable_ranks=ranks, special_tokens=pattern.specials
    )
    # The encoder has its own copy by now. Emptied, ours doesn't cost 25 MB for as long as the process lives.
    ranks.clear()
    return loaded
