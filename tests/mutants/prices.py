"""Mutants of prices and costs."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_RATES = "providers/rates.py"
_BANDS = "providers/bands.py"
_COUNTS = "providers/counts.py"
_BOOK = "providers/prices.py"
_STATED = "providers/override_reading.py"
_TABLE = "providers/overrides.py"
_TIERS = "providers/tiers.py"
_LIST = "providers/snapshot.py"
_UNKNOWN = "providers/unknown_price.py"
_UNIT = "tests/unit/providers"
_LAWS = f"{_UNIT}/test_cost_laws.py"
_EXACT = f"{_LAWS}::test_exact_and_rounded_once_and_up"

MUTANTS = [
    # Arithmetic.
    Mutant("CO1: a price per 1k is taken for one per 1M", _STATED,
           "Decimal(Unit.PER_1M.value // unit.value)", "Decimal(1)",
           f"{_LAWS}::test_a_price_per_1k_is_a_thousandth_of_the_same_per_1m"),
    Mutant("CO1: a token costs what a thousand do", _BANDS,
           "return integer(amount, 1_000 * scale)", "return integer(amount, 1_000_000 * scale)", _EXACT),
    Mutant("CO1: costs are rounded down", _RATES,
           "None if total is None else -(-total // self._scale), self.id, flag",
           "None if total is None else total // self._scale, self.id, flag", _EXACT),
    Mutant("CO1: a float in between", _RATES,
           "None if total is None else -(-total // self._scale), self.id, flag",
           "None if total is None else round(total / self._scale), self.id, flag",
           _EXACT),
    Mutant("CO1: rates are rounded to three decimals", _RATES,
           "self._scale: int = 10 ** max(0, finest - 3)", "self._scale: int = 10 ** max(0, min(finest, 3) - 3)", _EXACT),
    Mutant("CO1: the edge of a tier is part of it", _RATES,
           "            if input_tokens <= band.above:", "            if input_tokens < band.above:",
           f"{_UNIT}/test_rates.py::TestTiers::test_the_whole_request_is_priced_by_the_tier_its_input_reaches"),
    Mutant("CO1: cached tokens cost twice: in full, and as cached", _BANDS,
           "return cost + cached * (band.text.cached - band.text.fresh), None",
           "return cost + cached * band.text.cached, None", _EXACT),
    Mutant("CO1: what is kept for an hour costs what is kept for minutes", _BANDS,
           " + (usage.cache_write_1h_tokens or 0) * band.write_1h_more", "", _EXACT),
    Mutant("CO1: reasoning is free", _BANDS, " + reasoning * band.reasoning_more", " - reasoning * band.output", _EXACT),
    Mutant("CO1: images are text", _BANDS,
           " + (image or 0) * band.image_more + (video or 0) * band.video_more", "",
           f"{_UNIT}/test_counts.py::TestPictures::test_made_cost_their_own_price"),
    Mutant("BU2: images that nobody told are text", _BANDS,
           "return cost + plain * max(0, band.image_more, band.video_more), \"untold\" if plain else None",
           "return cost, None",
           f"{_UNIT}/test_counts.py::TestPictures::test_that_nobody_told_count_as_the_dearest_and_are_flagged"),
    Mutant("BU2: audio that may have been cached was", _BANDS,
           "    most = _spend(dearest_first, cached)\n", "    most = _spend(dearest_first[::-1], cached)\n",
           f"{_UNIT}/test_rates.py::TestOverlap::test_dearest_reading_and_flag"),
    Mutant("BU2: searches are free", _RATES, "            total += searches * self._search\n", "",
           f"{_UNIT}/test_counts.py::TestSearches::test_are_charged_each"),
    Mutant("BU2: a request's own price is forgotten", _RATES,
           "total = self._request + given + made", "total = given + made", _EXACT),
    Mutant("BU1: the bound is of the tier that the most input reaches", _RATES,
           "bands = [band for band in self._bands if band.above < input_tokens] or self._bands[:1]",
           "bands = [self._band(input_tokens)]",
           f"{_UNIT}/test_rates.py::TestTiers::test_bound_of_a_cheaper_tier_is_that_of_the_dearer_one_below"),
    Mutant("BU1: the bound is of plain tokens", _BANDS,
           "dearest_input=rate(band.dearest_input)", "dearest_input=rate(band.rates.get(\"input\", Decimal(0)))",
           f"{_LAWS}::test_the_bound_is_never_below_the_cost"),
    # Usage that can't be believed.
    Mutant("D11, CO1: negative usage is a refund", _COUNTS, "        if count < 0:\n            return \"negative\"\n", "",
           f"{_UNIT}/test_rates.py::TestNonsense::test_is_flagged_and_never_counted"),
    Mutant("D11: a bool is a count", _COUNTS,
           "if type(count) is not int:  # a bool is an int to isinstance, and no count",
           "if not isinstance(count, int):",
           f"{_UNIT}/test_rates.py::TestNonsense::test_is_flagged_and_never_counted"),
    Mutant("D11: absurd usage is billed", _COUNTS, "        if count > MOST_TOKENS:\n            return \"absurd\"\n", "",
           f"{_UNIT}/test_rates.py::TestNonsense::test_is_flagged_and_never_counted"),
    Mutant("D11: more can be cached than was asked", _COUNTS,
           "if (usage.cache_write_tokens or 0) + read_or_heard > total_in:", "if False:",
           f"{_UNIT}/test_rates.py::TestNonsense::test_is_flagged_and_never_counted"),
    Mutant("D11: a negative number of searches is a refund", _RATES, "wrong = wrong_count(searches)", "wrong = None",
           f"{_UNIT}/test_counts.py::TestSearches::test_of_an_impossible_number_are_no_usage"),
    # Which price.
    Mutant("A10: stated prices are ignored", _BOOK, "        if stated is not None:\n", "        if False:\n",
           f"{_UNIT}/test_prices.py::TestBook::test_a_stated_price_goes_before_a_listed_one"),
    Mutant("A15: names match by case", _LIST,
           "    return _SHELF.sub(\"\", model.lower()).",
           "    return _SHELF.sub(\"\", model).",
           f"{_UNIT}/test_overrides.py::TestNames::test_that_match"),
    Mutant("CO1: an unknown model has the price of a relative", _LIST,
           "if listed is not None and _is_called(listed, name):", "if listed is not None:",
           f"{_UNIT}/test_snapshot.py::test_an_unknown_name_is_nobody_s_relative"),
    Mutant("A10: negative prices are taken", _STATED, "    if amount < 0:\n", "    if False:\n",
           f"{_UNIT}/test_overrides.py::TestValues::test_that_are_refused"),
    Mutant("CO1: binary floats are taken for prices", _STATED, "    if isinstance(value, float):\n", "    if False:\n",
           f"{_UNIT}/test_overrides.py::TestValues::test_floats_are_refused_with_the_reason"),
    Mutant("CO1: prices of two units in one table", _STATED, "    if len(read.units) > 1:\n", "    if False:\n",
           f"{_UNIT}/test_overrides.py::TestUnits::test_mixing_them_is_refused"),
    Mutant("BU2: a dearer tier that isn't stated costs the standard", _BOOK,
           "return None if tier in DEARER else self._prices[None]", "return self._prices[None]",
           f"{_UNIT}/test_tiers.py::TestPrices::test_of_an_operator"),
    Mutant("BU2: a dearer tier that isn't listed costs the standard", _BOOK,
           "        if not variants and tier in DEARER:\n            return None\n", "",
           f"{_UNIT}/test_tiers.py::TestPrices::test_of_the_list"),
    Mutant("BU2: a tier's own price is ignored", _BOOK,
           "            amounts |= {key: amount for key, amount in own.items() if amount is not None}\n", "",
           f"{_UNIT}/test_tiers.py::TestPrices::test_of_the_list"),
    Mutant("BU2: flex is paid where it was only asked for", _TIERS,
           "return tier if told else bound_tier(asked)", "return tier if told else asked",
           f"{_UNIT}/test_tiers.py::TestPaid::test_is_what_the_answer_says_or_else_the_dearer"),
    Mutant("CO1: the first period's price holds for ever", _BOOK,
           "                if constraint is None or constraint.active(at):", "                if False:",
           f"{_UNIT}/test_prices.py::TestTime::test_of_change"),
    Mutant("CO1: prices of long inputs are ignored", _STATED,
           "return Offer((first, *bands), request, search)", "return Offer((first,), request, search)",
           f"{_UNIT}/test_overrides.py::TestAbove::test_a_longer_input_costs_more_altogether"),
    Mutant("two prices of one name", _TABLE,
           'for kind, amount in sorted(band.rates)', "for kind, amount in sorted(band.rates)[:1]",
           f"{_UNIT}/test_overrides.py::test_the_id_changes_with_the_price"),
    # Unknown prices.
    Mutant("CO1, BU1: a dollar budget lets through what has no price", _UNKNOWN,
           "        if not limited and self.action == \"serve\":", "        if self.action == \"serve\":",
           f"{_UNIT}/test_unknown_price.py::test_under_a_budget_in_dollars_it_is_refused_with_the_remedy"),
    Mutant("CO1: the ceiling is ignored", _UNKNOWN, "        if self.ceiling is not None:\n", "        if False:\n",
           f"{_UNIT}/test_unknown_price.py::test_a_ceiling_is_its_price_budget_or_not"),
    # What answers tell.
    Mutant("BU2: reasoning that xAI counts apart is free", "dialects/openai_chat/usage.py",
           "        return completed + reasoned\n", "        return completed\n",
           "tests/unit/dialects/test_told_beside.py::TestReasoningCountedApart"
           "::test_the_sum_shows_whether_it_is_part_of_the_completion"),
    Mutant("BU2: a chat's tier isn't read", "dialects/openai_chat/scan.py",
           'extra={**usage.extra, "service_tier": service_tier}', "extra=usage.extra",
           "tests/unit/dialects/test_told_beside.py::TestTiers::test_chat"),
    Mutant("BU2: searches in Responses aren't counted", "dialects/openai_responses/endings.py",
           "            more[\"web_search_calls\"] = searches\n", "            pass\n",
           "tests/unit/dialects/test_told_beside.py::TestImagesAndSearches"
           "::test_searches_in_responses_are_counted_in_the_output"),
]  # fmt: skip  # a table
