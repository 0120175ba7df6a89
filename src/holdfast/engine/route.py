"""Which targets a requested model means, in what order, under which limits.

Pure and made once per configuration: :class:`Routes` answers from dictionaries, and keeps its last answers, because
the same few names come with nearly every request. Names are the caller's to choose, so what is kept is bounded.
"""

from __future__ import annotations

import fnmatch
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec

from holdfast.engine.policy import Gates, Policy, Retry, Route, Target, Timeouts
from holdfast.errors import UnknownModel
from holdfast.providers import catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "DIRECT",
    "MODEL_CHARS",
    "Match",
    "ModelEntry",
    "Resolved",
    "Routes",
    "Routing",
    "Skipped",
    "Upstream",
    "fold",
    "matcher",
]

MODEL_CHARS: Final = 256
"""The longest model name that is looked at; the longest in use (ARNs of cloud deployments) have about 150."""

_REMEMBERED: Final = 1024  # of about 1 KiB each: what a caller who invents names can make us hold

DIRECT: Final = ""
"""The name of the route that a request takes when it names a provider or a provider's model, and no route."""

Match = Literal["route", "pattern", "provider", "catalog", "default"]


class Skipped(msgspec.Struct, frozen=True):
    """A target of the chain that isn't tried, and why."""

    target: Target
    reason: str


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What a requested model means. ``targets`` is never empty."""

    asked: str
    match: Match
    route: str
    """The route's name as configured, or :data:`DIRECT`."""
    targets: tuple[Target, ...]
    """In the file's order. Their tiers count from 0, without gaps."""
    skipped: tuple[Skipped, ...]
    policy: Policy
    spread: bool = False
    """Some targets are equals."""
    unkeyed: tuple[tuple[str, str], ...] = ()
    """Targets that others may be served by and this caller may not, for want of a key of its own; and that word."""

    def order(self, random: Callable[[], float]) -> Sequence[Target]:
        """The targets as this request tries them: tier after tier, equals in an order drawn by weight.

        Draws without replacement, each time among those left by their weights: Efraimidis and Spirakis, "Weighted random
        sampling with a reservoir" (2006), in the form with exponential keys, which can't underflow: who has the least of
        independent exponential times, of rates like the weights, is each one with the chance of its weight's share.
        ``random`` gives floats in [0, 1).
        """
        if not self.spread:  # nearly always
            return self.targets
        drawn = [(target.tier, -math.log(1.0 - random()) / target.weight, target) for target in self.targets]
        drawn.sort(key=lambda each: each[:2])
        return [target for _, _, target in drawn]


class ModelEntry(msgspec.Struct, frozen=True):
    """A name worth offering in ``/v1/models``."""

    id: str
    owned_by: str


class Upstream(Protocol):
    """What routing must know of a provider."""

    @property
    def name(self) -> str: ...
    @property
    def usable(self) -> bool:
        """It has the key it needs."""
        ...

    @property
    def shares(self) -> Sequence[tuple[str, float]]:
        """Name and weight of each of its deployments: its keys and addresses."""
        ...

    @property
    def timeouts(self) -> Timeouts:
        """For requests that name the provider itself."""
        ...

    @property
    def retry(self) -> Retry: ...
    @property
    def gates(self) -> Gates: ...


class Routing(Protocol):
    """What routing needs of a configuration. Mappings are in file order, their keys :func:`fold`-ed."""

    @property
    def providers(self) -> Mapping[str, Upstream]: ...
    @property
    def routes(self) -> Mapping[str, Route]: ...
    @property
    def default_route(self) -> str | None: ...
    @property
    def policy(self) -> Policy:
        """For requests that take no route."""
        ...


class _Miss(msgspec.Struct, frozen=True):
    """A remembered refusal: as costly to find out as an answer, and as often repeated."""

    message: str


class Routes:
    """Resolves model names: the same name to the same answer, always, and after every start.

    Args:
        config: providers, routes and the default.
        owner: which provider a bare model name belongs to, by name, or None; the catalog's knowledge.
        remembered: names whose answers are kept.
    """

    def __init__(
        self,
        config: Routing,
        *,
        owner: Callable[[str], str | None] = catalog.owner_of,
        remembered: int = _REMEMBERED,
    ) -> None:
        self._config = config
        self._owner = owner
        self._patterns = tuple(
            (matches, route)
            for route in config.routes.values()
            if (matches := matcher(route.models)) is not None
        )
        self._models: tuple[ModelEntry, ...] = ()
        self._models = tuple(self._list())
        self._remember = lru_cache(maxsize=remembered)(self._find)

    def resolve(self, model: str) -> Resolved:
        """The targets for ``model``.

        Raises:
            UnknownModel: nothing here answers to that name, or nothing that does has a key.
        """
        if len(model) > MODEL_CHARS:  # before remembering it: a name costs what it weighs
            raise UnknownModel(
                f"a model's name has at most {MODEL_CHARS} characters, this one {len(model)}", param="model"
            )
        found = self._remember(model)
        if isinstance(found, Resolved):
            return found
        raise UnknownModel(found.message, param="model")

    def models(self) -> tuple[ModelEntry, ...]:
        """Every name that can be asked for as it stands: routes, their literal patterns, their targets."""
        return self._models

    def _list(self) -> Iterable[ModelEntry]:
        entries: dict[str, ModelEntry] = {}
        routes = self._config.routes.values()
        for route in routes:
            if isinstance(self._along(route.name, "route", route), Resolved):
                entries.setdefault(fold(route.name), ModelEntry(route.name, "holdfast"))
        for name in (name for route in routes for name in route.models if not _is_wild(name)):
            if isinstance(self._find(name), Resolved):
                entries.setdefault(fold(name), ModelEntry(name, "holdfast"))
        for target in (target for route in routes for target in route.targets if not _is_open(target)):
            if self._usable(target.provider):
                name = f"{target.provider}/{target.model}"  # a deployment isn't asked for by name
                entries.setdefault(fold(name), ModelEntry(name, target.provider))
        return entries.values()

    def _find(self, model: str) -> Resolved | _Miss:
        if not model:  # before the patterns: "*" would match it, and no provider has a model of no name
            return self._missing(model, None)
        if not model.isprintable():  # it may become part of a path, a header and a log line
            return _Miss('"model" holds characters that can\'t be printed; use letters, digits and - _ . : /')
        name, config = fold(model), self._config
        if (route := config.routes.get(name)) is not None:
            return self._along(model, "route", route)
        for matches, route in self._patterns:
            if matches(name):
                return self._along(model, "pattern", route)
        provider, slash, rest = model.partition("/")
        if slash and rest and (upstream := config.providers.get(fold(provider))) is not None:
            if upstream.usable:
                return self._direct(model, "provider", upstream, rest)
            return _Miss(f'"{model}" names the provider {upstream.name}, which has no key here')
        owner = self._owner(model)
        if (
            owner is not None
            and (upstream := config.providers.get(fold(owner))) is not None
            and upstream.usable
        ):
            return self._direct(model, "catalog", upstream, model)
        if (
            config.default_route is not None
            and (route := config.routes.get(fold(config.default_route))) is not None
        ):
            return self._along(model, "default", route)
        return self._missing(model, owner)

    def _direct(self, model: str, match: Match, upstream: Upstream, rest: str) -> Resolved:
        targets = tuple(
            Target(
                provider=upstream.name,
                deployment=deployment,
                weight=weight,
                model=self._spelled(upstream.name, rest),
                timeouts=upstream.timeouts,
                retry=upstream.retry,
                gates=upstream.gates,
            )
            for deployment, weight in upstream.shares
        )
        return Resolved(
            asked=model,
            match=match,
            route=DIRECT,
            targets=targets,
            skipped=(),
            policy=self._config.policy,
            spread=len(targets) > 1,
        )

    def _along(self, model: str, match: Match, route: Route) -> Resolved | _Miss:
        targets: list[Target] = []
        skipped: list[Skipped] = []
        written = next((name for name in route.models if fold(name) == fold(model)), model)
        for target in route.targets:
            if not self._usable(target.provider):
                skipped.append(Skipped(target, f"{target.provider} has no key"))
            elif not _is_open(target):
                targets.append(target)
            elif match == "route":
                # The route's own name is no model of any provider, and sending it there would only buy a 404.
                skipped.append(
                    Skipped(target, "{model} stands for nothing when the route is asked for by its name")
                )
            else:
                filled = self._spelled(target.provider, target.model.replace("{model}", written))
                targets.append(msgspec.structs.replace(target, model=filled))
        if not targets:
            reasons = "; ".join(dict.fromkeys(skip.reason for skip in skipped)) or "it has none"
            return _Miss(f'no target of the route "{route.name}" can be used: {reasons}')
        return Resolved(
            asked=model,
            match=match,
            route=route.name,
            targets=_in_tiers(targets),
            skipped=tuple(skipped),
            policy=route.policy,
            spread=len({target.tier for target in targets}) < len(targets),
        )

    def _spelled(self, provider: str, model: str) -> str:
        """``model`` as its provider spells it: the known families are all lower-case, and providers look closely.

        A fine-tuned model's name ends in an id that isn't.
        """
        owner = self._owner(model)
        known = owner is not None and fold(owner) == fold(provider) and ":" not in model
        return model.lower() if known else model

    def _usable(self, provider: str) -> bool:
        upstream = self._config.providers.get(fold(provider))
        return upstream is not None and upstream.usable

    def _missing(self, model: str, owner: str | None) -> _Miss:
        if not model:
            said = '"model" is empty'
        elif owner is None:
            said = f'there is no route, provider or known model "{model}" here'
        else:
            lacks = "has no key" if fold(owner) in self._config.providers else "isn't configured"
            said = f'the model "{model}" belongs to {owner}, which {lacks} here'
        names = [entry.id for entry in self._models]
        if near := catalog.nearest(model, names):
            return _Miss(f"{said}; the nearest are {', '.join(near)}")
        return _Miss(f"{said}; there are {', '.join(names[:5])}" if names else said)


def _in_tiers(targets: Sequence[Target]) -> tuple[Target, ...]:
    """``targets`` with tiers as they stand: who was left out leaves no gap, and who was moved forward goes first."""
    ranks = {tier: rank for rank, tier in enumerate(dict.fromkeys(target.tier for target in targets))}
    return tuple(
        target
        if target.tier == ranks[target.tier]
        else msgspec.structs.replace(target, tier=ranks[target.tier])
        for target in targets
    )


def fold(name: str) -> str:
    """The form in which names are compared: without regard to case."""
    return name.casefold()


def matcher(patterns: Iterable[str]) -> Callable[[str], object] | None:
    """A test of :func:`fold`-ed names against all ``patterns`` at once; None where there are none.

    Only ``*`` and ``?`` are wildcards. The expressions are :mod:`fnmatch`'s, whose stars don't backtrack: a name of
    the caller's choosing can't make matching slow.
    """
    parts = [fnmatch.translate(fold(pattern).replace("[", "[[]")) for pattern in patterns]
    return re.compile("|".join(parts)).match if parts else None


def _is_wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _is_open(target: Target) -> bool:
    return "{model}" in target.model
