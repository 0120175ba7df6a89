"""Reading the configuration: a file, or nothing but the environment."""

from __future__ import annotations

import tomllib
from decimal import Decimal, InvalidOperation
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pydantic import ValidationError

from holdfast.config.build import build
from holdfast.config.cost_protection import notes_of, with_environment
from holdfast.config.problems import Path, Problem, from_pydantic, raise_for
from holdfast.config.schema import Document
from holdfast.config.sharing import by_environment, redis_notes
from holdfast.config.source import Source
from holdfast.config.substitute import substitute_all
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from holdfast.config.effective import Config

__all__ = ["Report", "check", "load", "parse", "read_text"]

_MAX_BYTES: Final = 4 * 2**20  # a file this large is no configuration (a device, a log given by mistake)


class Report(msgspec.Struct, frozen=True):
    """What :func:`check` found. With no problems the configuration can be served; warnings are worth reading before."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What holds, and might not be expected."""


def load(
    path: str | PathLike[str] | None,
    env: Mapping[str, str],
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    text: bytes | None = None,
) -> Config:
    """The configuration in the file at ``path``; with None, what the environment's provider keys alone make.

    Args:
        path: a TOML file.
        env: the environment's variables; nothing else is read from the process.
        host: overrides ``gateway.host``.
        port: overrides ``gateway.port``.
        workers: overrides ``gateway.workers``.
        text: what the file held when somebody else read it (:func:`read_text`): it isn't read again.

    Raises:
        ConfigError: everything that is wrong, at once, in ``problems``. No key or variable's content is ever part of it.
    """
    if path is None:
        return parse({}, env, host=host, port=port, workers=workers)
    document = _toml(FilePath(path), text if text is not None else read_text(path))
    return parse(document, env, file=str(path), host=host, port=port, workers=workers)


def parse(
    document: Mapping[str, Any],
    env: Mapping[str, str],
    *,
    file: str | None = None,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
) -> Config:
    """:func:`load` for a document that was read already (by :mod:`tomllib`, numbers as Decimal)."""
    filled = substitute_all(_overridden(document, host=host, port=port, workers=workers), env)
    filled = by_environment(with_environment(filled, env), env)
    problems = list(filled.problems)
    checked, found = _validate(filled.document)
    faulty = [problem.path for problem in filled.problems]
    problems += [problem for problem in found if not _inside(problem.path, faulty)]
    source = Source(checked, filled.document, env, filled.origins)
    config = build(source, file=file)
    problems += [problem for problem in source.problems if not _inside(problem.path, faulty)]
    raise_for(problems, file=file)
    return config


def check(path: str | PathLike[str] | None, env: Mapping[str, str], *, at_ns: int) -> Report:
    """Everything that is wrong with a configuration, and what is likely not meant. Opens no connection.

    Args:
        path: as for :func:`load`.
        env: as for :func:`load`.
        at_ns: now, in nanoseconds since 1970 UTC: prices change with time.
    """
    from holdfast.config.warn import warnings_of  # knows prices, which take a while to import

    try:
        config = load(path, env)
    except ConfigError as error:
        return Report(problems=error.problems)
    return Report(
        warnings=tuple(warnings_of(config, at_ns=at_ns)),
        notes=(*notes_of(config.cost_protection), *redis_notes(config)),
    )


def read_text(path: str | PathLike[str]) -> bytes:
    """What a configuration's file holds, for :func:`load`.

    Raises:
        ConfigError: it can't be read, or is too large to be one.
    """
    path = FilePath(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "its name can't be one"
        raise _unreadable(path, f"can't be read: {reason}") from None
    if len(data) > _MAX_BYTES:
        raise _unreadable(path, f"is larger than {_MAX_BYTES // 2**20} MB: this is no configuration")
    return data


def _toml(path: FilePath, data: bytes) -> dict[str, Any]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, f"line {line}: is not valid UTF-8") from None
    try:
        return tomllib.loads(text, parse_float=_decimal)
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(path, f"is not valid TOML: {error}") from None
    except RecursionError:
        raise _unreadable(path, "is nested too deep") from None
    except ValueError:  # Python's limit on the digits of an integer, and dates that there are none of
        raise _unreadable(path, "is not valid TOML: a number or date in it can't be read") from None


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError("an exponent too large") from None


def _unreadable(path: FilePath, what: str) -> ConfigError:
    problem = f"{path}: {what}"
    return ConfigError(problem, problems=(problem,))


def _overridden(document: Mapping[str, Any], **overrides: object) -> Mapping[str, Any]:
    given = {name: value for name, value in overrides.items() if value is not None}
    gateway = document.get("gateway", {})
    if not given or not isinstance(gateway, dict):
        return document
    return {**document, "gateway": {**gateway, **given}}


def _validate(document: Mapping[str, Any]) -> tuple[Document, list[Problem]]:
    """The document without its faulty settings, and what is wrong with them.

    The sound rest goes on to the checks over several tables, so that their findings come in the same report.
    """
    found: list[Problem] | None = None
    rest = dict(document)
    while True:
        try:
            return Document.model_validate(rest), found or []
        except ValidationError as error:
            problems = from_pydantic(error, Document)
            if found is None:
                found = problems
            for problem in problems:
                rest = _without(rest, problem.path)


def _without(container: Any, path: Path) -> Any:
    """A copy of ``container`` without what is at ``path``: of what is missing there, without the table that lacks it."""
    step, deeper = path[0], path[1:]
    if isinstance(container, list):
        return []  # of a list with a faulty part nothing is kept: places in it would no longer be true
    if step not in container or (deeper and not isinstance(container[step], (dict, list))):
        return {key: value for key, value in container.items() if key != step}
    if deeper and (isinstance(container[step], list) or deeper[0] in container[step]):
        return {**container, step: _without(container[step], deeper)}
    return {key: value for key, value in container.items() if key != step}


def _inside(path: Path, outer: list[Path]) -> bool:
    """``path`` is one of ``outer`` or within it: what is said of it follows from what was said already."""
    return any(path[: len(other)] == other for other in outer)
