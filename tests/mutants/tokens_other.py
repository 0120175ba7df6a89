"""Mutants of token counts for everybody but OpenAI, of bounds and of what is learnt from bills."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TOKENS = "providers/tokens"
_UNIT = "tests/unit/providers/tokens"
_BILLED = f"{_UNIT}/test_billed.py::test_no_bill_passes_the_bound_where_all_input_is_visible"
_SIZES = f"{_UNIT}/test_bounds.py::test_no_recorded_bill_passes_it"
_REQUEST = f"{_UNIT}/test_calibrated.py::TestRequest"
_LEARNED = f"{_UNIT}/test_learned.py"

MUTANTS = [
    # Bounds.
    Mutant("TK1: what the provider adds isn't in the bound of a size", f"{_TOKENS}/bounds.py",
           "    return body_bytes + added\n", "    return body_bytes\n", _SIZES),
    Mutant("TK1: the prompt that teaches calling isn't in the bound", f"{_TOKENS}/bounds.py",
           "        added += once + tool * tools\n", "        added += tool * tools\n",
           f"{_UNIT}/test_bounds.py::test_what_was_seen_leaves_half_again"),
    Mutant("TK1: an unknown provider is taken to add nothing", f"{_TOKENS}/bounds.py",
           "_TERMS.get(provider, _UNKNOWN_TERMS)", "_TERMS.get(provider, (0, 0, 0, 0, 0))",
           f"{_UNIT}/test_bounds.py::test_nobody_known_is_bounded_above_those_who_are_unknown"),
    Mutant("TK1: pictures aren't in the bound", f"{_TOKENS}/bounds.py",
           "    if images:\n", "    if False:\n", f"{_UNIT}/test_bounds.py::test_it_grows_with_everything"),
    Mutant("TK1: a count's bound leaves out what is wrapped around", f"{_TOKENS}/wrapped.py",
           "upper = visible + found.sealed + self._most_around(found)", "upper = visible + found.sealed", _BILLED),
    Mutant("TK1: sealed thoughts aren't in the bound", f"{_TOKENS}/wrapped.py",
           "upper = visible + found.sealed + self._most_around(found)",
           "upper = visible + self._most_around(found)",
           f"{_REQUEST}::test_sealed_thoughts_are_bounded_by_their_length"),
    Mutant("TK1: characters are taken for bytes", f"{_TOKENS}/pieces.py",
           'return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))', "return len(text)",
           f"{_UNIT}/test_calibrated.py::TestText::test_a_bound_is_in_bytes"),
    # What can't be seen.
    Mutant("TK1: a reference is taken to be nothing", f"{_TOKENS}/pieces.py",
           "found = Pieces(unseen=not _REFERS.isdisjoint(request.extra))", "found = Pieces()",
           f"{_REQUEST}::test_what_isnt_here_has_no_bound_and_says_so"),
    Mutant("TK1: a file is taken to be nothing", f"{_TOKENS}/pieces.py",
           "        case Media():\n            found.unseen = True\n", "        case Media():\n            pass\n",
           f"{_REQUEST}::test_what_isnt_here_has_no_bound_and_says_so"),
    Mutant("TK1: a provider's own tool is taken to be one of ours", f"{_TOKENS}/pieces.py",
           "        found.tools.append(_json(tool.data))\n        found.unseen = True\n",
           "        found.tools.append(_json(tool.data))\n",
           f"{_REQUEST}::test_what_isnt_here_has_no_bound_and_says_so"),
    # Counts.
    Mutant("TK1, A9: every Claude has the older tokenizer", f"{_TOKENS}/claude.py",
           "counter = _NEWER_COUNTER if _newer(name) else _OLDER_COUNTER", "counter = _OLDER_COUNTER",
           f"{_UNIT}/test_calibrated.py::TestText::test_the_tokenizer_of_2026_needs_a_third_more"),
    Mutant("A9: Gemini's digits are counted in threes", f"{_TOKENS}/kinds.py",
           "digit=sum(n * tally[_DIGITS + n - 1] for n in (1, 2, 3))",
           "digit=sum(tally[_DIGITS + n - 1] for n in (1, 2, 3))",
           f"{_UNIT}/test_calibrated.py::TestText::test_gemini_takes_digits_one_by_one"),
    Mutant("TK1: a turn with calls has no frame of its own", f"{_TOKENS}/wrapped.py",
           "            wrapping.calls * found.calling + ", "            ",
           f"{_UNIT}/test_deepseek.py::test_what_was_billed_is_within_two_per_cent"),
    Mutant("A9: DeepSeek's words don't begin with a sign", f"{_TOKENS}/deepseek_encoding.py",
           r'''        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+""",''' + "\n", "",
           f"{_UNIT}/test_deepseek.py::test_a_text_has_the_published_ids"),
    Mutant("A9: DeepSeek loses what no word is made of", f"{_TOKENS}/deepseek_encoding.py",
           '        rf"{_STRAY}++(?!{_LETTER})",\n', "",
           f"{_UNIT}/test_deepseek.py::test_no_character_is_lost"),
    # What is learnt.
    Mutant("TK1: an absurd bill is learnt from", f"{_TOKENS}/learned.py",
           "        if not LEAST_RATIO <= ratio <= MOST_RATIO:\n            return False\n", "",
           f"{_LEARNED}::test_absurd_bills_teach_nothing"),
    Mutant("TK1: the last bill is the ratio", f"{_TOKENS}/learned.py",
           "return median_low(bills) if bills else SHIPPED", "return bills[-1] if bills else SHIPPED",
           f"{_LEARNED}::test_one_bill_changes_nothing"),
    Mutant("TK1: models are remembered for ever", f"{_TOKENS}/learned.py",
           "                self._bills.popitem(last=False)\n", "                pass\n",
           f"{_LEARNED}::test_what_is_kept_is_bounded"),
    Mutant("TK1: what is learnt passes the bound", f"{_TOKENS}/learned.py",
           "tokens=min(-(-count.tokens * ratio // 1_000), count.upper)", "tokens=-(-count.tokens * ratio // 1_000)",
           f"{_LEARNED}::TestApplied::test_never_above_the_bound"),
]  # fmt: skip  # a table reads better packed
