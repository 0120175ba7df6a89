"""Why a model goes where it goes: its targets, their limits, and where each value came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.config.defaults import (
    GATES,
    Setting,
    gate_settings,
    policy_settings,
    retry_settings,
    timeouts_settings,
)
from holdfast.config.problems import dotted
from holdfast.engine.route import DIRECT, Resolved, Routes, fold
from holdfast.errors import UnknownModel
from holdfast.providers import catalog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.config.effective import Config
    from holdfast.config.problems import Path
    from holdfast.engine.policy import Target

__all__ = ["ExplainedTarget", "Explanation", "Value", "explain"]


class Value(msgspec.Struct, frozen=True):
    """An effective setting. ``source`` is ``built-in`` or the path that sets it, with the variables that filled it in."""

    name: str
    value: Any
    source: str


class ExplainedTarget(msgspec.Struct, frozen=True, kw_only=True):
    """One target of the chain. ``skipped`` says why it isn't tried; None: it is."""

    target: str
    provider: str
    place: int | None
    """In the chain, from 1; equals share theirs. None: it isn't tried."""
    share: float | None
    """Of its equals' requests, how many try it first, from 0 to 1."""
    dialect: str
    base_url: str
    proxy: str | None
    """Without its credentials."""
    ca_file: str | None
    key: str
    """Where the key comes from; never the key."""
    set: tuple[str, ...]
    """The parameters that this target alone is sent: only their names, since they may hold anything."""
    skipped: str | None
    limits: tuple[Value, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """``error`` is what a caller who asks for this model is told; then there are no targets."""

    model: str
    file: str | None
    error: str | None = None
    match: str | None = None
    because: str | None = None
    route: str | None = None
    targets: tuple[ExplainedTarget, ...] = ()
    """In the order in which they are tried, equals in the file's; the skipped ones come last."""
    policy: tuple[Value, ...] = ()
    protection: tuple[Value, ...] = ()
    """Of all callers' money, whatever they ask for."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can say it."""
        built: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return built


def explain(config: Config, model: str) -> Explanation:
    """What happens to a request for ``model``. Never raises for a model that nothing answers to: it says so."""
    try:
        resolved = Routes(config, owner=catalog.owner_of).resolve(model)
    except UnknownModel as error:
        return Explanation(model=model, file=config.file, error=error.message)
    route = None if resolved.route == DIRECT else resolved.route
    tried = tuple(
        _target(
            config, route, target, None, among=[each for each in resolved.targets if each.tier == target.tier]
        )
        for target in resolved.targets
    )
    skipped = tuple(_target(config, route, skip.target, skip.reason) for skip in resolved.skipped)
    return Explanation(
        model=model,
        file=config.file,
        match=resolved.match,
        because=_because(config, resolved),
        route=route,
        targets=tried + skipped,
        policy=_values(policy_settings(config.document, route), config.origins),
        protection=_values(list(config.cost_protection.settings), config.origins),
    )


def _target(
    config: Config, route: str | None, target: Target, skipped: str | None, *, among: Sequence[Target] = ()
) -> ExplainedTarget:
    """``among``: its equals, itself included; none where it isn't tried."""
    provider = config.providers[fold(target.provider)]
    deployment = next(each for each in provider.deployments if each.name == target.deployment)
    settings = timeouts_settings(config.document, route, provider.name)
    settings += retry_settings(config.document, route, provider.name)
    for name in GATES:
        settings += gate_settings(config.document, name, route, provider.name)
    return ExplainedTarget(
        target=str(target),
        provider=provider.name,
        place=target.tier + 1 if among else None,
        share=target.weight / sum(each.weight for each in among) if among else None,
        dialect=provider.dialect,
        base_url=deployment.base_url,
        proxy=str(deployment.proxy) if deployment.proxy is not None else None,
        ca_file=deployment.ca_file,
        key=deployment.key_from,
        set=tuple(sorted(target.set)),
        skipped=skipped,
        limits=_values(settings, config.origins),
    )


def _values(settings: list[Setting], origins: Mapping[Path, tuple[str, ...]]) -> tuple[Value, ...]:
    return tuple(
        Value(setting.name, _visible(setting), _source(setting.path, origins)) for setting in settings
    )


def _visible(setting: Setting) -> Any:
    """A value that may be shown: of the parameters a route sets only the names, since they may hold anything."""
    if isinstance(setting.value, (frozenset, tuple, dict)):
        return sorted(map(str, setting.value))
    return setting.value


def _source(path: Path | None, origins: Mapping[Path, tuple[str, ...]]) -> str:
    return "built-in" if path is None else dotted(path) + _from_environment(path, origins)


def _from_environment(path: Path, origins: Mapping[Path, tuple[str, ...]]) -> str:
    variables = origins.get(path, ())
    return f" (environment {', '.join(variables)})" if variables else ""


def _because(config: Config, resolved: Resolved) -> str:
    if resolved.match == "route":
        written = any(fold(key) == fold(resolved.route) for key in config.document.routes)
        return f"it is the name of the route {resolved.route}" + ("" if written else ", which is built in")
    provider = resolved.targets[0].provider
    return {
        "pattern": f"it matches {dotted(('routes', resolved.route, 'models'))}",
        "provider": f"it names the provider {provider}",
        "catalog": f"it is a model of {provider}",
        "default": f"nothing else has it, and default_route is {resolved.route}",
    }[resolved.match]
