"""What a configuration's prices lack: targets that have none, and stated ones that are nobody's."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, NamedTuple

from holdfast.config.problems import Problem
from holdfast.engine.route import fold
from holdfast.providers import snapshot
from holdfast.providers.catalog import PROVIDERS
from holdfast.providers.prices import PriceBook, parse_overrides
from holdfast.providers.tiers import asked_tier, bound_tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from holdfast.config.effective import Config
    from holdfast.engine.policy import Target
    from holdfast.providers.overrides import Override

__all__ = ["PriceCheck", "check_prices"]

_ANY = "{model}"


class PriceCheck(NamedTuple):
    """What was found. Each reads as a sentence with its path in front."""

    targets: tuple[tuple[str, str | None], ...]
    """Each model that a route can reach, and the id of its price."""
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    """What can't be checked, or is answered by the ceiling."""


def check_prices(config: Config, *, at_ns: int) -> PriceCheck:
    """Looks up every target of every route at ``at_ns`` (nanoseconds since 1970 UTC), and every stated price."""
    overrides, _ = parse_overrides(config.prices)  # problems were reported when the file was read
    book = PriceBook(overrides)
    targets = {f"{target.provider}/{target.model}": target for target in _targets(config)}
    found: list[tuple[str, str | None]] = []
    problems: list[Problem] = []
    notes: list[Problem] = []
    ceiling = config.unknown_price.ceiling
    for name, target in sorted(targets.items()):
        tier = bound_tier(asked_tier(target.provider, target.set))
        price = book.price(target.provider, target.model, at_ns, tier)
        charged = price or ceiling
        found.append((name, None if charged is None else charged.id))
        if price is not None:
            continue
        which = f"no price is known in the service tier {tier}" if tier else "no price is known"
        if ceiling is not None:
            notes.append(Problem(("prices", name), f"{which}; it costs the ceiling of [pricing]"))
        else:
            what = (
                "is refused" if config.unknown_price.action == "refuse" else "is served, and its cost is null"
            )
            problems.append(
                Problem(("prices", name), f"{which}, so it {what}; state input_per_1m and output_per_1m")
            )
    problems += (
        problem for override in overrides if (problem := _nobodys(config, override, targets.values()))
    )
    notes += _open_routes(config)
    return PriceCheck(tuple(found), tuple(problems), tuple(notes))


def _targets(config: Config) -> Iterator[Target]:
    for route in config.routes.values():
        for target in route.targets:
            if _ANY not in target.model and config.providers[fold(target.provider)].usable:
                yield target


def _open_routes(config: Config) -> Iterator[Problem]:
    for route in config.routes.values():
        if any(_ANY in target.model for target in route.targets):
            yield Problem(("routes", route.name), "takes any model, so not all that it can reach is checked")


def _nobodys(config: Config, override: Override, targets: Iterable[Target]) -> Problem | None:
    """What is wrong where a stated price is of no model that is listed or that a route can reach."""
    path = ("prices", override.name)
    reached = [target for target in targets if override.provider in (None, fold(target.provider))]
    if any(_same(override, target.provider, target.model) for target in reached):
        return None
    providers = {*(fold(name) for name in config.providers), *PROVIDERS, *snapshot.SELLERS}
    if override.provider is not None and override.provider not in providers:
        near = difflib.get_close_matches(override.provider, providers, n=1)
        hint = f"; did you mean {near[0]}/{override.model}?" if near else ""
        return Problem(path, f"there is no provider {override.provider}{hint}")
    sellers = list(snapshot.SELLERS) if override.provider is None else [override.provider]
    if any(snapshot.find(seller, override.model) is not None for seller in sellers):
        return None
    if override.provider is not None and override.provider not in snapshot.SELLERS:
        return None  # a server of its own may have any model
    names = {model.id for seller in sellers for model in snapshot.models_of(seller)}
    near = difflib.get_close_matches(override.model, {*names, *(target.model for target in reached)}, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return Problem(path, f"is the price of no model that is listed or that a route reaches{hint}")


def _same(override: Override, provider: str, model: str) -> bool:
    name = snapshot.normal(provider, model)
    return override.model in (name, snapshot.undated(name))
