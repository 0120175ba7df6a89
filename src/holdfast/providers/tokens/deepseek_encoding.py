"""DeepSeek's tokenizer, of V3 and V4 alike, in the engine that counts OpenAI's.

It is a byte-level BPE whose merges stand in the order of its tokens, so ranks say all of it. It cuts a text three times:
digits out first, then Chinese and Japanese, then the rest into words. Here that is one pattern: what the first two cuts take
is left out of every class of the third, and counts as the end of the text where the third looks ahead. Against the published
tokenizer it was held on 80,000 texts of mixed scripts and on megabytes of JSON.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from threading import Lock
from typing import TYPE_CHECKING, Final

from holdfast.providers.tokens.ranks import RankFile, RanksDamaged, unpack

if TYPE_CHECKING:
    import tiktoken

__all__ = ["PATTERN", "RANKS", "deepseek_encoding"]

RANKS: Final = RankFile(
    name="deepseek_v4",
    tokens=127_997,
    size=963_591,
    sha256="d1eef22511c043df28ad0d40641428aaa48407c3439b2869fdda8fb665468fce",
)
"""Packed by ``tools/pack_deepseek.py`` from the file that DeepSeek publishes (MIT, ``data/LICENSE-deepseek``)."""

_CJK: Final = "\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff"
_CUT_OUT: Final = rf"\p{{N}}{_CJK}"
_LETTER: Final = rf"[[\p{{L}}\p{{M}}]&&[^{_CJK}]]"
_STRAY: Final = rf"[^\s\p{{L}}\p{{M}}\p{{N}}\p{{P}}\p{{S}}{_CJK}]"
"""Joiners, controls, unassigned characters: what no word is made of stands alone, up to the one before a letter."""

PATTERN: Final = "|".join(
    (
        r"\p{N}{1,3}",
        rf"[{_CJK}]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+""",
        rf"[^\r\n\p{{L}}\p{{P}}\p{{S}}{_CUT_OUT}]?{_LETTER}+",
        rf" ?[[\p{{P}}\p{{S}}]&&[^{_CJK}]]+[\r\n]*",
        r"\s*[\r\n]+",
        # Spaces: all at an end, else all but the last. In strides, since each step of a lookahead is remembered.
        rf"\s++(?:$|(?=[{_CUT_OUT}]))",
        r"(?=\s\s)(?:\s{512}(?=\s))*+(?:\s(?=\s))*+",
        r"\s",
        rf"{_STRAY}++(?!{_LETTER})",
        rf"(?={_STRAY}{_STRAY})(?:{_STRAY}{{16}}(?={_STRAY}))*+(?:{_STRAY}(?={_STRAY}))*+",
    )
)

_loading: Final = Lock()


def deepseek_encoding() -> tiktoken.Encoding:
    """The encoding, loaded at the first call: 0.2 s and some 50 MB. Threads may share it.

    Raises:
        RanksDamaged: the vocabulary isn't what was shipped.
    """
    with _loading:  # threads that come while it loads wait, and don't load it again
        return _load()


@cache
def _load() -> tiktoken.Encoding:
    import tiktoken  # 40 ms, and most programs never count

    try:
        packed = files(__package__).joinpath("data", f"{RANKS.name}.ranks").read_bytes()
    except OSError as error:
        raise RanksDamaged(
            f"The tokenizer data {RANKS.name} of this installation can't be read ({error}). Install holdfast again."
        ) from error
    return tiktoken.Encoding(
        RANKS.name, pat_str=PATTERN, mergeable_ranks=unpack(packed, RANKS), special_tokens={}
    )
