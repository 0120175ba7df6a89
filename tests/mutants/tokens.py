"""Mutants of how OpenAI's tokens are counted, and of what every count rests on."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TOKENS = "providers/tokens"
_UNIT = "tests/unit/providers/tokens"
_BPE = f"{_UNIT}/test_bpe.py"
_OPENAI = f"{_UNIT}/test_openai.py"
_BILLS = f"{_OPENAI}::TestBills"
_FORMULA = f"{_OPENAI}::TestFormula"
_TOOLS = f"{_UNIT}/test_openai_tools.py"
_RANKS = f"{_UNIT}/test_ranks.py::TestDamage"
_HOSTILE = f"{_BPE}::test_hostile_texts_have_the_tokens_that_tiktoken_says"

MUTANTS = [
    # Counts.
    Mutant("TK1: a sum is as sure as its surer part", f"{_TOKENS}/count.py",
           "max(self.kind, other.kind", "min(self.kind, other.kind",
           f"{_UNIT}/test_count.py::test_a_sum_is_as_sure_as_its_weaker_part"),
    Mutant("TK1: a sum forgets what couldn't be seen", f"{_TOKENS}/count.py",
           "self.unseen or other.unseen", "self.unseen and other.unseen",
           f"{_UNIT}/test_count.py::test_a_sum_is_as_sure_as_its_weaker_part"),
    # Vocabularies.
    Mutant("TK1: a vocabulary is believed whatever it holds", f"{_TOKENS}/ranks.py",
           "    if found != file.sha256:\n", "    if False:\n", f"{_RANKS}::test_one_changed_byte_is_noticed"),
    Mutant("TK1: a changed vocabulary may fill the memory", f"{_TOKENS}/ranks.py",
           "decompress(packed, file.size + 1)", "decompress(packed)",
           f"{_RANKS}::test_a_file_that_unpacks_to_gigabytes_is_let_go_at_the_right_size"),
    Mutant("TK1: threads that come first at once all load it", f"{_TOKENS}/encodings.py",
           "        found = _loaded.get(name)\n        if found is None:\n            found",
           "        if True:\n            found",
           f"{_UNIT}/test_encodings.py::test_threads_that_come_first_at_once_load_it_once"),
    Mutant("TK1: spaces are matched as published, and panic", f"{_TOKENS}/encodings.py",
           r'r"(?=\s\s)(?:\s{512}(?=\s))*+(?:\s(?=\s))*+"', r'r"\s+(?!\S)"',
           f"{_UNIT}/test_encodings.py::test_a_million_spaces_are_no_reason_to_panic"),
    Mutant("TK1: the last space before a word is taken from it", f"{_TOKENS}/encodings.py",
           r"(?:\s{512}(?=\s))*+", r"(?:\s{512})*+",
           f"{_UNIT}/test_encodings.py::test_every_text_has_the_tokens_that_tiktoken_says"),
    Mutant("A9: a model's encoding is the shortest beginning's", f"{_TOKENS}/openai.py",
           "return _ENCODINGS[max(fits, key=len)] if fits else None",
           "return _ENCODINGS[min(fits, key=len)] if fits else None",
           f"{_OPENAI}::TestEncodings::test_models_have_the_encoding_that_tiktoken_says"),
    # Long texts.
    Mutant("A9: tokens at a cut stand as they came out", f"{_TOKENS}/bpe.py",
           "_COUNTED_AGAIN: Final = (2, 4, 8, 16)", "_COUNTED_AGAIN: Final = (0,)", _HOSTILE),
    Mutant("A9: a cut is believed without looking", f"{_TOKENS}/bpe.py",
           "        if encoder.encode_ordinary(encoder.decode(pair)) == pair:\n", "        if True:\n",
           f"{_BPE}::test_a_seam_that_doesnt_stand_is_looked_at_further_back"),
    Mutant("A9: spaces are cut after a line's end", f"{_TOKENS}/bpe.py",
           'return "\\n" not in spaces and "\\r" not in spaces and (len(spaces) < len(before) or first == start)',
           "return True",
           f"{_BPE}::test_spaces_after_a_lines_end_stay_with_it_whatever_the_vocabulary"),
    Mutant("A9: letters are cut after a sign, where DeepSeek tells them apart", f"{_TOKENS}/bpe.py",
           "return not before.endswith(tuple(punctuation)) if before else first == start", "return True",
           f"{_BPE}::test_they_have_at_deepseek_as_well"),
    Mutant("A9: slashes are cut like other signs", f"{_TOKENS}/bpe.py",
           r'r"[!-.:-@\[-`{-~]{8192}"', r'r"[!-/:-@\[-`{-~]{8192}"', f"{_HOSTILE}[signs, lines' ends, slashes]"),
    Mutant("A9: a text may be cut before an apostrophe", f"{_TOKENS}/bpe.py",
           r"[\s,.;:!?", r"[\s',.;:!?", f"{_BPE}::test_contractions_are_never_cut_in_two"),
    Mutant("TK1: a long text is encoded in one go", f"{_TOKENS}/bpe.py",
           "    at = start + STRETCH\n    while", "    at = len(text)\n    while",
           f"{_BPE}::test_no_more_than_a_stretch_is_looked_at_at_once"),
    # Requests.
    Mutant("TK1: what is said around a message isn't counted", f"{_TOKENS}/openai.py",
           "            around += frame.message if len(message.parts) > calls + results else 0\n", "",
           f"{_FORMULA}::test_a_message_is_its_text_and_seven"),
    Mutant("TK1: tools aren't counted", f"{_TOKENS}/openai.py",
           "self._tokens(write_tools(tools)) + frame.tools", "0",
           f"{_BILLS}::test_most_chats_are_counted_to_the_token_and_none_is_far_off"),
    Mutant("TK1: the bound leaves out the tools", f"{_TOKENS}/openai.py",
           "            most += found.written_bytes\n", "",
           f"{_FORMULA}::test_a_tool_that_is_searched_for_is_in_the_bound_alone"),
    Mutant("TK1: the bound leaves out what only OpenAI can read", f"{_TOKENS}/openai.py",
           "most += found.sealed + self._most_around(found)", "most += self._most_around(found)",
           f"{_FORMULA}::test_thoughts_are_in_the_bound_alone"),
    Mutant("TK1: a model nobody knows is bounded by another's encoding", f"{_TOKENS}/openai.py",
           'Count(tokens, "calibrated", size(text))', 'Count(tokens, "calibrated", tokens)',
           f"{_OPENAI}::TestEncodings::test_what_openai_alone_knows_is_counted_by_the_newest_and_bounded_by_bytes"),
    Mutant("TK1: a schema that refers to itself goes on for ever", f"{_TOKENS}/openai_tools.py",
           "depth > _DEEPEST", "False", f"{_TOOLS}::TestHostileSchemas::test_a_circle_ends"),
    Mutant("TK1: references may stand for any length", f"{_TOKENS}/openai_tools.py",
           "        self._left -= len(written)\n", "",
           f"{_TOOLS}::TestHostileSchemas::test_one_wide_thing_referred_to_many_times_is_written_a_few_times"),
    # The loop.
    Mutant("TK1: a long request holds up the loop", f"{_TOKENS}/aside.py",
           "if use.begun and _characters(request) < LARGE:", "if use.begun:",
           f"{_UNIT}/test_aside.py::test_the_loop_goes_on_while_a_thread_counts_a_long_request"),
    Mutant("TK1: a tokenizer is loaded on the loop", f"{_TOKENS}/aside.py",
           "    if use.begun and len(text) < LARGE:\n", "    if len(text) < LARGE:\n",
           f"{_UNIT}/test_aside.py::test_a_models_first_count_may_load_its_tokenizer_and_goes_to_a_thread"),
]  # fmt: skip  # a table reads better packed
