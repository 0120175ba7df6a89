"""The file's providers: the catalog's rows, what the file lays over them, and the keys and addresses to reach each by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec
from pydantic_core import PydanticCustomError

from holdfast.config import fields
from holdfast.config.defaults import gates_of
from holdfast.config.effective import Deployment, Provider, retry_of, timeouts_of
from holdfast.config.problems import did_you_mean, or_quoted
from holdfast.config.schema import ProviderTable
from holdfast.config.substitute import Substituted
from holdfast.engine.route import fold
from holdfast.providers import catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.config.problems import Path
    from holdfast.config.schema import DeploymentTable
    from holdfast.config.source import Source
    from holdfast.secret import Secret

__all__ = ["providers_of"]

_NO_SHARED_KEY: Final = ("none", "caller")


def providers_of(source: Source) -> dict[str, Provider]:
    """Those of the file, in its order; all that are known where it names none."""
    if not source.raw.get("providers"):
        return {name: _Reader(source, name, ProviderTable()).read() for name in map(fold, catalog.PROVIDERS)}
    made: dict[str, Provider] = {}
    for name, table in source.doc.providers.items():
        made.setdefault(fold(name), _Reader(source, name, table).read())
    return made


class _Key(msgspec.Struct, frozen=True):
    """A key, how it travels and where it came from; of none, why there is none."""

    key: Secret | None
    auth: str
    told: str
    ambient: bool = False
    """It is the environment's, by the name its SDK reads: then the address from there belongs to it."""


class _Reader:
    """Reads one ``[providers.NAME]``."""

    def __init__(self, source: Source, name: str, table: ProviderTable) -> None:
        self._source = source
        self._name = name
        self._table = table
        self._path: Path = ("providers", name)
        self._known = catalog.provider(name)

    def read(self) -> Provider:
        if self._known is None:
            self._check_own()
        row = self._row()
        shared = self._shared_key(row)
        at_home = self._moved(row) if shared.ambient and self._table.base_url is None else row
        every = [
            self._with_address(deployment, place, shared)
            for place, deployment in enumerate(self._deployments(row, at_home, shared))
        ]
        used = tuple(each for each, usable in every if usable)
        idle = tuple(each for each, usable in every if not usable)
        return Provider(
            row=self._versioned(at_home),
            deployments=used or idle,
            key_from=(used or idle)[0].key_from,
            usable=bool(used),
            idle=idle if used else (),
            unsupported=tuple(dict.fromkeys((*row.unsupported, *self._table.unsupported))),
            timeouts=timeouts_of(self._source.doc, None, self._name),
            retry=retry_of(self._source.doc, None, self._name),
            gates=gates_of(self._source.doc, None, self._name),
            auth=self._auth(row),
            from_callers=self._table.auth == "caller",
            home=row.base_url or self._only_address(),
        )

    def _only_address(self) -> str:
        addresses = {each.base_url for each in self._table.deployments if each.base_url is not None}
        return addresses.pop() if len(addresses) == 1 else ""

    # The row

    def _row(self) -> catalog.Provider:
        table, dialect = self._table, self._table.dialect
        if dialect is not None and dialect not in catalog.DIALECTS:
            near = "" if isinstance(dialect, Substituted) else did_you_mean(dialect, catalog.DIALECTS)
            self._wrong(f"must be {or_quoted(catalog.DIALECTS)}{near}", "dialect")
            dialect = None
        if self._known is None:
            row = catalog.compatible(self._name, dialect or catalog.DIALECTS[0])
        else:
            row = catalog.respoken(self._known, dialect or self._known.dialect)
            if row.dialect != self._known.dialect and not self._names_addresses():
                self._wrong(
                    f'is "{self._known.dialect}" at {self._known.name}\'s own address; '
                    f'name the base_url that speaks "{row.dialect}"',
                    "dialect",
                )
        if table.base_url is None:
            return row
        self._check_end(row, table.base_url, "base_url")
        return msgspec.structs.replace(row, base_url=table.base_url)

    def _names_addresses(self) -> bool:
        each = self._table.deployments
        if not each:
            return self._was_written("base_url") or self._lost_deployments()
        return self._was_written("base_url") or all(one.base_url for one in each)

    def _lost_deployments(self) -> bool:
        """Some were written, and at least one so that none was kept: their addresses aren't missing."""
        return (
            bool(self._source.written("providers", self._name, "deployments")) and not self._table.deployments
        )

    def _moved(self, row: catalog.Provider) -> catalog.Provider:
        """``row`` at the environment's address, for a key from there: a proxy's key must not go to its provider."""
        address = self._source.of_environment(row.base_url_env)
        if not address:
            return row
        base_url = self._checked(row.base_url_env, address, fields.base_url)
        if base_url is None:
            return row
        self._check_end(row, base_url)
        if row.base_url_end and base_url.endswith(row.base_url_end):
            self._source.wrong((), f"environment {row.base_url_env}: {_ends_with(row.base_url_end)}")
        return msgspec.structs.replace(row, base_url=base_url + row.base_url_end)

    def _versioned(self, row: catalog.Provider) -> catalog.Provider:
        """``row`` with its paths for callers that name an API version."""
        version = self._table.api_version
        if version is not None and not row.dated_doors:
            self._wrong("belongs to azure: no other provider has one", "api_version")
            return row
        if version is None and self._is_elsewhere(row):
            asked = self._source.of_environment(row.api_version_env)
            version = self._checked(row.api_version_env, asked, fields.api_version) if asked else None
        if version is None:
            return row
        doors = {
            name: catalog.Door(f"{door.path}?api-version={version}") for name, door in row.dated_doors.items()
        }
        return msgspec.structs.replace(row, doors=doors)

    def _is_elsewhere(self, row: catalog.Provider) -> bool:
        """It is reached at the environment's address: only there the environment's version counts."""
        return self._known is not None and self._table.base_url is None and bool(row.base_url)

    def _check_own(self) -> None:
        """A server that the catalog doesn't know must say how to reach it."""
        near = did_you_mean(self._name, catalog.PROVIDERS)
        for setting, example in (("dialect", catalog.DIALECTS[0]), ("base_url", "http://127.0.0.1:8000/v1")):
            there = self._names_addresses() if setting == "base_url" else self._was_written(setting)
            if not there:
                self._wrong(
                    f"is missing: {self._name} is no known provider, so say how to "
                    f'reach it, such as "{example}"{near}',
                    setting,
                )

    def _check_end(self, row: catalog.Provider, base_url: str, *setting: str | int) -> None:
        """``setting`` is where the address stands; none: the environment."""
        if (end := _doubled(row, base_url)) is None:
            return
        if setting:
            self._wrong(_ends_with(end), *setting)
        else:
            self._source.wrong((), f"environment {row.base_url_env}: {_ends_with(end)}")

    # Keys and addresses

    def _shared_key(self, row: catalog.Provider) -> _Key:
        """The key of every deployment that has none of its own."""
        table = self._table
        if table.api_key is not None and table.api_keys:
            self._wrong("contradicts api_keys; leave one of them out", "api_key")
        if table.auth in _NO_SHARED_KEY and table.api_key is not None:
            self._own_key(row, table.api_key, "api_key")  # says that the two contradict each other
        if table.auth == "caller":
            return _Key(None, self._auth(row), f"each caller brings its own: {self._told('auth')}")
        if table.auth == "none":
            return _Key(None, self._auth(row), f"none is needed: {self._told('auth')}")
        if table.api_key is not None:
            return self._own_key(row, table.api_key, "api_key")
        if self._known is not None:
            return self._key_of_environment(row)
        return _Key(
            None,
            self._auth(row),
            f'{self._told("api_key")} is not set (auth = "none" for a server that needs none)',
        )

    def _own_key(self, row: catalog.Provider, written: Secret, *setting: str | int) -> _Key:
        key = _real(written)
        if key is not None and self._table.auth in _NO_SHARED_KEY:
            self._wrong(f'contradicts auth = "{self._table.auth}"; leave one of them out', *setting)
        told = self._told(*setting)
        return _Key(key, self._auth(row), told if key is not None else f'{told} is empty or "none"')

    def _key_of_environment(self, row: catalog.Provider) -> _Key:
        ways = [(name, row.auth) for name in row.key_env] + [(name, "bearer") for name in row.token_env]
        for variable, way in ways:
            written = self._source.of_environment(variable)
            secret = self._checked(variable, written, fields.secret) if written else None
            if secret is not None and (key := _real(secret)) is not None:
                auth = way if self._table.auth == "key" else self._auth(row)
                return _Key(key, auth, f"environment {variable}", ambient=True)
        unset = " or ".join(variable for variable, _ in ways)
        return _Key(None, self._auth(row), f"environment {unset} is not set")

    def _auth(self, row: catalog.Provider) -> str:
        return row.auth if self._table.auth in ("key", *_NO_SHARED_KEY) else self._table.auth

    def _deployments(
        self, row: catalog.Provider, at_home: catalog.Provider, shared: _Key
    ) -> Iterator[Deployment]:
        """All that are written, or one."""
        table = self._table
        if table.deployments and table.auth == "caller":
            self._wrong('contradicts auth = "caller", which goes to one address', "deployments")
        if table.deployments:
            if table.api_keys:
                self._wrong("contradicts deployments, each of which has its key", "api_keys")
            yield from self._written_deployments(row, at_home, shared)
        elif table.api_keys:
            for place, written in enumerate(table.api_keys):
                name = str(place + 1) if len(table.api_keys) > 1 else ""
                key = self._own_key(row, written, "api_keys", place)
                yield self._deployment(row.base_url, key, name=name)
        else:
            for setting in ("api_keys", "deployments"):
                if self._source.written("providers", self._name, setting) == []:
                    self._wrong("is empty: leave it out, or write what belongs into it", setting)
            yield self._deployment(at_home.base_url, shared)

    def _written_deployments(
        self, row: catalog.Provider, at_home: catalog.Provider, shared: _Key
    ) -> Iterator[Deployment]:
        seen: dict[str, str] = {}
        for place, each in enumerate(self._table.deployments):
            if fold(each.name) in seen:
                self._wrong(f"is there twice, also as {seen[fold(each.name)]}", "deployments", place, "name")
            seen[fold(each.name)] = each.name
            if each.base_url is not None:
                self._check_end(row, each.base_url, "deployments", place, "base_url")
            if each.api_key is None:
                # The shared key may be the environment's, and then goes to the address from there.
                yield self._deployment(each.base_url or at_home.base_url, shared, each)
            else:
                key = self._own_key(row, each.api_key, "deployments", place, "api_key")
                yield self._deployment(each.base_url or row.base_url, key, each)

    def _deployment(
        self, base_url: str, key: _Key, own: DeploymentTable | None = None, *, name: str = ""
    ) -> Deployment:
        return Deployment(
            name=own.name if own is not None else name,
            base_url=base_url,
            key=key.key,
            key_from=key.told,
            auth=key.auth,
            headers={**self._table.headers, **(own.headers if own is not None else {})},
            weight=own.weight if own is not None else 1.0,
            proxy=self._nearest("proxy", own),
            ca_file=self._nearest("ca_file", own),
        )

    def _nearest(self, setting: str, own: DeploymentTable | None) -> Any:
        """The nearest that is set, though it be set to none."""
        for table in (own, self._table):
            if table is not None and setting in table.model_fields_set:
                return getattr(table, setting)
        return getattr(self._source.doc.outbound, setting)

    def _with_address(self, deployment: Deployment, place: int, shared: _Key) -> tuple[Deployment, bool]:
        """Whether it can be used. One that lacks only an address is an error, unless it is the environment that lacks it."""
        auth = self._table.auth
        usable = deployment.key is not None or auth == "none"
        if deployment.base_url or not (usable or auth == "caller"):
            return deployment, usable
        variable = self._known.base_url_env if self._known is not None else None
        if shared.ambient and deployment.key is shared.key:
            told = f"environment {variable} is not set"
            return msgspec.structs.replace(deployment, key_from=told), False
        where: tuple[str | int, ...] = ("deployments", place) if self._table.deployments else ()
        if not self._was_written("base_url") and self._known is not None and not self._lost_deployments():
            unused = f"; environment {variable} counts only beside the environment's key"
            self._wrong(
                "is missing: it is an address of your own, such as https://NAME.openai.azure.com"
                + (unused if self._source.of_environment(variable) else ""),
                *where,
                "base_url",
            )
        return deployment, False

    # Saying so

    def _wrong(self, message: str, *setting: str | int) -> None:
        self._source.wrong((*self._path, *setting), message)

    def _told(self, *setting: str | int) -> str:
        return self._source.told((*self._path, *setting))

    def _was_written(self, setting: str) -> bool:
        return self._source.was_written("providers", self._name, setting)

    def _checked(self, variable: str | None, value: str, check: Callable[[str], Any]) -> Any:
        try:
            return check(value)
        except PydanticCustomError as error:
            self._source.wrong((), f"environment {variable}: {error.message()}")
            return None


def _real(key: Secret) -> Secret | None:
    return key if key.reveal().lower() not in fields.NO_KEY else None


def _ends_with(end: str) -> str:
    return f"ends with {end}, which is added to it: leave that out"


def _doubled(row: catalog.Provider, base_url: str) -> str | None:
    """What ``base_url`` ends with though each path is that or begins so: it was copied from where it stands whole."""
    paths = [door.path for door in row.doors.values()]
    ends = set(paths)
    for depth in range(2, paths[0].count("/") + 1):
        start = "/".join(paths[0].split("/")[:depth])
        if all(path.startswith(f"{start}/") for path in paths):
            ends.add(start)
    at = urlsplit(base_url).path
    return max((end for end in ends if at.endswith(end)), key=len, default=None)
