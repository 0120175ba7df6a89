"""What a sound configuration likely doesn't mean."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from holdfast.config.cost_protection import findings
from holdfast.config.effective import is_loopback
from holdfast.config.problems import Problem
from holdfast.config.warn_own_keys import own_key_findings, serves_somebody
from holdfast.engine.route import fold
from holdfast.providers.prices import PriceBook, parse_overrides

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.config.effective import Config, Deployment, Provider
    from holdfast.engine.policy import Route

__all__ = ["warnings_of"]


def warnings_of(config: Config, *, at_ns: int) -> Iterator[str]:
    """One sentence each, with its path in front. ``at_ns`` is the time prices are looked up for."""
    for finding in (
        *_of_callers(config),
        *_of_providers(config),
        *own_key_findings(config),
        *_of_routes(config),
        *_of_prices(config, at_ns),
        *findings(config.cost_protection),
    ):
        yield str(finding)


def _of_callers(config: Config) -> Iterator[Problem]:
    if not is_loopback(config.gateway.host) and not config.keys:
        yield Problem(
            ("gateway", "host"),
            "other machines can reach this address, and no [keys.NAME] stands here: without a key that "
            "'holdfast keys create' made, the gateway won't start",
        )


def _of_providers(config: Config) -> Iterator[Problem]:
    if not config.has_providers:
        yield Problem(("providers",), "no provider has a key, so no request can be served")
    for key in config.document.providers:
        provider = config.providers[fold(key)]
        if not serves_somebody(config, provider):
            yield Problem(("providers", key), f"is not used: {provider.key_from}")
        for deployment in provider.idle:
            yield Problem(("providers", key), f"{deployment.name} is not used: {deployment.key_from}")
        yield from _same_keys(key, provider)
        for name in [each.name for each in provider.deployments if _readable(each)]:
            which = f"of {name} " if name else ""
            yield Problem(
                ("providers", key, "base_url"),
                f"{which}is http://, so the key travels readable; use https://",
            )


def _same_keys(key: str, provider: Provider) -> Iterator[Problem]:
    """Deployments that are one and the same: a limit or a refusal of one is the other's too."""
    first: dict[tuple[str, str], str] = {}
    for deployment in provider.deployments:
        if deployment.key is None:
            continue
        same = first.setdefault((deployment.base_url, deployment.key.reveal()), deployment.name)
        if same != deployment.name:
            yield Problem(
                ("providers", key), f"{deployment.name} has the address and key of {same}: nothing is gained"
            )


def _readable(deployment: Deployment) -> bool:
    parts = urlsplit(deployment.base_url)
    secret = deployment.key is not None or bool(deployment.headers)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "") and secret


def _of_routes(config: Config) -> Iterator[Problem]:
    patterns: dict[str, str] = {}
    for route in config.routes.values():
        path = ("routes", route.name)
        if not any(
            serves_somebody(config, config.providers[fold(target.provider)]) for target in route.targets
        ):
            yield Problem(path, "can't serve: none of its targets' providers has a key")
        yield from _repeated(route)
        yield from _idle_weights(config, route)
        for pattern in route.models:
            first = patterns.setdefault(fold(pattern), route.name)
            if first != route.name:
                yield Problem(
                    (*path, "models"), f"{pattern} never comes here: the route {first} has it before"
                )


def _repeated(route: Route) -> Iterator[Problem]:
    asked: dict[tuple[str, str], Counter[str]] = {}
    for target in route.targets:
        alike = (f"{target.provider}/{target.model}", repr(sorted(target.set.items())))
        asked.setdefault(alike, Counter())[target.deployment] += 1
    for (name, _), by_deployment in asked.items():
        times = max(by_deployment.values())  # the same for each of them
        if times > 1:
            yield Problem(
                ("routes", route.name, "targets"),
                f"{name} is there {times} times; use retry.max_retries to try again",
            )


def _idle_weights(config: Config, route: Route) -> Iterator[Problem]:
    table = next(
        (each for key, each in config.document.routes.items() if fold(key) == fold(route.name)), None
    )
    for place, item in enumerate(table.targets if table is not None else ()):
        grouped = isinstance(item, list | tuple)
        alone = item[0] if grouped and len(item) == 1 else item
        if isinstance(alone, dict) and "weight" in alone:
            yield Problem(
                ("routes", route.name, "targets", place, *((0,) if grouped else ()), "weight"),
                "means nothing: it has no equals; put them into one list: [[{ … }, { … }]]",
            )


def _of_prices(config: Config, at_ns: int) -> Iterator[Problem]:
    book = PriceBook(parse_overrides(config.prices)[0])
    targets = {
        f"{target.provider}/{target.model}": target
        for route in config.routes.values()
        for target in route.targets
        if "{model}" not in target.model and config.providers[fold(target.provider)].usable
    }
    for name, target in targets.items():
        if book.price(target.provider, target.model, at_ns) is None:
            yield Problem(
                ("prices", name),
                "no price is known, so its cost is null; state input_per_1m and output_per_1m",
            )
