"""What ``holdfast tokens`` shows, for people and for programs. Dollars are exact: nothing here is a float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.cli.output import clean, say, say_table
from holdfast.model import Message, Request, Role, Text
from holdfast.model.usage import Usage
from holdfast.money.cost import format_usd
from holdfast.providers.models import owner_of
from holdfast.providers.price_rows import of_model
from holdfast.providers.tokens import FAMILIES, Count, Kind, counter_for
from holdfast.providers.tokens.other import FAMILY as OTHERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.providers.overrides import Override
    from holdfast.providers.tokens import Family

__all__ = [
    "Counted",
    "InputCost",
    "counted_json",
    "families_json",
    "input_costs",
    "say_counted",
    "say_families",
]

_WORDS: Final[dict[Kind, str]] = {
    "exact": "the provider's own tokenizer, over this very text",
    "reconstructed": "the provider's own tokenizer, over the request as the provider is known to write it out",
    "calibrated": "an estimate: another tokenizer's count, scaled by what the provider was seen to bill",
}
_TUNED: Final = "ft:"


class InputCost(msgspec.Struct, frozen=True, kw_only=True):
    """What the tokens cost as input at one provider, in nano-dollars: as counted, and at most."""

    provider: str
    price_id: str
    nano: int
    most_nano: int


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """A count, and what it was asked for."""

    model: str
    provider: str | None
    count: Count
    whole: bool
    """A request, and not a bare text."""
    costs: tuple[InputCost, ...]

    @property
    def known(self) -> bool:
        """Whether any family knows the model."""
        return counter_for(self.model, self.provider) is not OTHERS.counter(self.model)


def input_costs(
    overrides: Sequence[Override], model: str, provider: str | None, count: Count, at_ns: int
) -> tuple[InputCost, ...]:
    """What ``count`` costs as fresh input: at ``provider``, else at the model's own, else wherever a price is known."""
    rows = of_model(overrides, model, at_ns, provider=provider or owner_of(model))
    found = []
    for row in rows:
        price = row.prices[None]
        cost, most = (
            price.cost(Usage(input_tokens=tokens, output_tokens=0)).nano
            for tokens in (count.tokens, count.upper)
        )
        if cost is not None and most is not None:
            found.append(InputCost(provider=row.provider, price_id=price.id, nano=cost, most_nano=most))
    return tuple(found)


def say_counted(shown: Counted) -> None:
    count = shown.count
    at = f" at {clean(shown.provider)}" if shown.provider else ""
    say(f"{_plural(count.tokens)} for {clean(shown.model)}{at}")
    say(f"{count.kind}: {_WORDS[count.kind]}")
    if not shown.known:
        say("  nothing is known of this model's tokenizer; `holdfast tokens models` lists those that are")
    say(f"at most {count.upper}{' of what can be seen' if count.unseen else ''}")
    if count.unseen:
        say(
            "  more is read than stands in the request (a file, a URL, a provider's own tool): nothing bounds that"
        )
    for cost in shown.costs:
        bound = "" if cost.most_nano == cost.nano else f", ${format_usd(cost.most_nano)} at most"
        say(f"as input ${format_usd(cost.nano)}{bound} ({_place(cost)})")
    if not shown.costs:
        say("as input: no price is known")


def counted_json(shown: Counted) -> dict[str, Any]:
    count = shown.count
    return {
        "model": shown.model,
        "provider": shown.provider,
        "tokens": count.tokens,
        "kind": count.kind,
        "upper": count.upper,
        "unseen": count.unseen,
        "known_model": shown.known,
        "input_costs": [
            {
                "provider": cost.provider,
                "price_id": cost.price_id,
                "cost_usd": format_usd(cost.nano),
                "most_usd": format_usd(cost.most_nano),
            }
            for cost in shown.costs
        ],
    }


def say_families() -> None:
    """A line for each family: whose, which models, and how a text and a request are counted."""
    say_table(
        ("family", "a text", "a request", "models"),
        [
            (
                each["family"],
                each["text"],
                each["request"],
                ", ".join(f"{name}…" for name in each["models"]) or "all others",
            )
            for each in families_json()["families"]
        ],
    )
    say()
    for kind, words in _WORDS.items():
        say(f"{kind}: {words}")


def families_json() -> dict[str, Any]:
    return {"families": [_family_json(family) for family in (*FAMILIES, OTHERS)], "kinds": _WORDS}


def _family_json(family: Family) -> dict[str, Any]:
    """Asked of the counter itself, so that it can't say one thing and do another."""
    names = [name for name in family.beginnings if not name.startswith(_TUNED)]
    counter = family.counter(names[0] if names else "")
    request = Request(model="", messages=(Message(role=Role.USER, parts=(Text(text="a"),)),))
    return {
        "family": family.providers[0] if family.providers else "others",
        "providers": list(family.providers),
        "models": names,
        "text": counter.text("a").kind,
        "request": counter.request(request).kind,
    }


def _plural(tokens: int) -> str:
    return f"{tokens} token{'' if tokens == 1 else 's'}"


def _place(cost: InputCost) -> str:
    return "as your file states" if cost.provider == "any" else f"at {clean(cost.provider)}"
