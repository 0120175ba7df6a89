"""The file's routes: what stands in their ``targets``, resolved to one target for each deployment of its provider."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from holdfast.config import fields
from holdfast.config.defaults import policy_of
from holdfast.config.effective import CHAT, chat_over, targets_of
from holdfast.config.problems import from_pydantic, listing, or_one_of
from holdfast.config.schema import TargetTable
from holdfast.config.substitute import Substituted
from holdfast.engine.policy import Route
from holdfast.engine.route import MODEL_CHARS, fold
from holdfast.providers import catalog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.config.effective import Provider
    from holdfast.config.problems import Path
    from holdfast.config.schema import RouteTable
    from holdfast.config.source import Source
    from holdfast.engine.policy import Target

__all__ = ["routes_of"]

_EXAMPLE: Final = '"openai/gpt-5.4-mini"'
_NAMEABLE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what may be quoted: no secret in the wrong place


def routes_of(source: Source, providers: Mapping[str, Provider]) -> dict[str, Route]:
    """Those of the file, in its order, and the built-in one after them."""
    made: dict[str, Route] = {}
    for name, table in source.doc.routes.items():
        made.setdefault(fold(name), _Reader(source, name, table, providers).read())
    if CHAT not in made:
        names = [name for name in catalog.PROVIDERS if name in providers and providers[name].usable]
        if names:
            made[CHAT] = chat_over(source.doc, names, providers)
    return made


class _Reader:
    """Reads one ``[routes.NAME]``."""

    def __init__(
        self, source: Source, name: str, table: RouteTable, providers: Mapping[str, Provider]
    ) -> None:
        self._source = source
        self._name = name
        self._table = table
        self._providers = providers
        self._path: Path = ("routes", name, "targets")
        self._faulty = False

    def read(self) -> Route:
        targets = tuple(
            target
            for tier, item in enumerate(self._table.targets)
            for path, one in self._equals((*self._path, tier), item)
            for target in self._targets(path, one, tier)
        )
        if not self._table.targets and (written := self._source.written("routes", self._name, "targets")) in (
            None,
            [],
        ):
            lacks = "is missing" if written is None else "is empty"
            self._wrong(self._path, f"{lacks}: a route needs at least one target, such as [{_EXAMPLE}]")
        if targets and not self._faulty and self._is_never_filled(targets):
            self._wrong(
                self._path,
                "{model} stands for nothing here: the route has no models patterns and isn't the default_route",
            )
        return Route(
            name=self._name,
            targets=targets,
            models=self._table.models,
            policy=policy_of(self._source.doc, self._name),
        )

    def _is_never_filled(self, targets: tuple[Target, ...]) -> bool:
        default = self._source.doc.default_route
        return (
            all("{model}" in target.model for target in targets)
            and not self._source.was_written("routes", self._name, "models")
            and (default is None or fold(default) != fold(self._name))
        )

    def _equals(self, path: Path, item: Any) -> list[tuple[Path, Any]]:
        """One place of the chain as the targets that share it."""
        if not isinstance(item, list | tuple):
            return [(path, item)]
        if not item:
            self._wrong(path, "is empty: a group of equals needs at least one target")
        return [((*path, place), each) for place, each in enumerate(item)]

    def _targets(self, path: Path, item: Any, tier: int) -> Iterator[Target]:
        """One for each of the provider's deployments; none where it is faulty, which was said."""
        table = self._read_table(path, item)
        if table is None:
            return
        where = (*path, "target") if isinstance(item, dict) else path
        if (found := self._provider_and_model(where, table.target)) is None:
            self._faulty = True
            return
        provider, model = found
        yield from targets_of(
            self._source.doc, self._name, provider, model, tier, weight=table.weight, overrides=table.set
        )

    def _read_table(self, path: Path, item: Any) -> TargetTable | None:
        try:
            table = TargetTable.model_validate(item if isinstance(item, dict) else {"target": item})
        except ValidationError as error:
            for problem in from_pydantic(error, TargetTable):
                self._wrong((*path, *problem.path), problem.message)
            return None
        if "drop" in self._table.model_fields_set:
            for name in sorted(set(self._table.drop) & set(table.set)):
                self._wrong(
                    (*path, "set"),
                    f"{name} is also in the route's drop: it can't be both put in and left out",
                )
        return table

    def _provider_and_model(self, path: Path, target: Any) -> tuple[Provider, str] | None:
        if isinstance(target, Substituted) and not target.variables:
            return None  # couldn't be filled in, and was complained about
        if not isinstance(target, str) or not all(parts := target.partition("/")):
            kind = "a string without one" if isinstance(target, str) else fields.shown(target)
            right = f"must be a provider and a model with a slash between, such as {_EXAMPLE}"
            self._wrong(path, f"{right}, not {kind}")
            return None
        name, _, model = parts
        why = _why_no_model(model)
        if why is not None:
            self._wrong(path, why)
        provider = self._providers.get(fold(name))
        if provider is not None:
            return (provider, model) if why is None else None
        named = self._source.raw.get("providers", {})
        if not self._source.was_written("providers", name) and isinstance(named, dict):
            self._wrong(path, self._no_provider(target, name))
        return None

    def _no_provider(self, target: str, name: str) -> str:
        there = [provider.name for provider in self._providers.values()]
        if isinstance(target, Substituted) or not _NAMEABLE.fullmatch(name):
            return f"names no provider of this file{listing(there)}"
        if (row := catalog.provider(name)) is not None:
            return f"there is no provider {name} in this file; add [providers.{row.name}]"
        return f"there is no provider {name}{or_one_of(name, there)}"

    def _wrong(self, path: Path, message: str) -> None:
        self._faulty = True
        self._source.wrong(path, message)


def _why_no_model(model: str) -> str | None:
    if len(model) > MODEL_CHARS or not model.isprintable() or model != model.strip():
        return f"names a model of more than {MODEL_CHARS} characters, or with ones that can't be printed"
    rest = model.replace("{model}", "")
    if "{" in rest or "}" in rest:
        return "has braces that are no {model}: nothing else can be filled in"
    return None
