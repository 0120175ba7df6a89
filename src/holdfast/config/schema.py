"""The configuration file as it may be written: every table and setting, its range and its default.

A setting that is ``None`` here wasn't set: what it then is, and why, is decided in :mod:`holdfast.config.effective`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from holdfast.config import fields as f  # noqa: TC001  # pydantic evaluates annotations
from holdfast.dialects.fields import HARMLESS

__all__ = [
    "DeploymentTable",
    "Document",
    "Gateway",
    "KeyTable",
    "Ledger",
    "Log",
    "OutboundTable",
    "ProviderTable",
    "RetryTable",
    "RouteRetryTable",
    "RouteTable",
    "RouteTimeoutsTable",
    "TargetTable",
    "TimeoutsTable",
]


class _Table(BaseModel):
    # hide_input: pydantic's own texts would quote what was written, and that may be a secret
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Log(_Table):
    """``[gateway.log]``"""

    level: f.LogLevel = "info"
    format: f.LogFormat = "auto"
    """``auto``: text on a terminal, JSON elsewhere."""


class Gateway(_Table):
    """``[gateway]``"""

    host: f.Host = "127.0.0.1"
    port: f.Port = 8080
    max_body_mb: f.Megabytes = 32.0
    """Of 2**20 bytes."""
    read_s: f.Seconds = 30.0
    """How long a client may take to send its request."""
    keepalive_s: f.Seconds = 75.0
    """How long a client's idle connection is kept."""
    drain_s: f.SecondsOrOff = 30.0
    """How long running requests may go on after SIGTERM."""
    admin_key: f.SecretText | None = None
    log: Log = Log()

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body_mb * 2**20)


class Ledger(_Table):
    """``[ledger]``"""

    url: f.SqliteUrl = "sqlite:///holdfast.db"
    durability: f.Durability = "process"
    """What a committed row survives: ``process``: kill -9; ``power``: a power cut too."""
    busy_timeout_s: f.Seconds = 5.0

    @property
    def path(self) -> str:
        """The database's file, relative to the working directory unless it begins with a slash."""
        return self.url.removeprefix("sqlite:///")


class TimeoutsTable(_Table):
    """``[providers.NAME.timeouts]``: limits of one attempt."""

    connect_s: f.Seconds | None = None
    first_token_s: f.Seconds | None = None
    answer_s: f.Seconds | None = None
    idle_s: f.Seconds | None = None


class RouteTimeoutsTable(TimeoutsTable):
    """``[timeouts]`` and ``[routes.NAME.timeouts]``: those, and the limits of a whole request."""

    total_s: f.Seconds | None = None
    keepalive_s: f.SecondsOrOff | None = None
    client_stall_s: f.Seconds | None = None


class RetryTable(_Table):
    """``[providers.NAME.retry]``"""

    max_retries: f.Retries | None = None
    base_s: f.Delay | None = None
    multiplier: f.Multiplier | None = None
    max_s: f.Delay | None = None
    jitter: f.Jitter | None = None


class RouteRetryTable(RetryTable):
    """``[retry]`` and ``[routes.NAME.retry]``"""

    max_attempts: f.Attempts | None = None


class OutboundTable(_Table):
    """``[outbound]``: the way to every provider that has none of its own."""

    proxy: f.ProxyUrl = None
    ca_file: f.CaFile = None


class DeploymentTable(_Table):
    """``[[providers.NAME.deployments]]``: one of several addresses or keys. What isn't set is the provider's."""

    name: f.DeploymentName
    base_url: f.BaseUrl | None = None
    api_key: f.SecretText | None = None
    headers: f.Headers = Field(default_factory=dict)
    weight: f.Weight = 1.0
    proxy: f.ProxyUrl = None
    ca_file: f.CaFile = None


class ProviderTable(_Table):
    """``[providers.NAME]``"""

    dialect: f.Text | None = None
    base_url: f.BaseUrl | None = None
    api_key: f.SecretText | None = None
    api_keys: tuple[f.SecretText, ...] = ()
    """Several, used by turns."""
    auth: f.Auth = "key"
    """``none``: this server needs no key, and is used without one. A header's name: the key travels there."""
    api_version: f.ApiVersion | None = None
    """Azure's: paths are those of the deployments, and not of its v1 API."""
    headers: f.Headers = Field(default_factory=dict)
    unsupported: tuple[f.Unsupported, ...] = ()
    """Parameters and kinds of part that its dialect has and it doesn't take."""
    proxy: f.ProxyUrl = None
    ca_file: f.CaFile = None
    deployments: tuple[DeploymentTable, ...] = ()
    timeouts: TimeoutsTable = TimeoutsTable()
    retry: RetryTable = RetryTable()


class TargetTable(_Table):
    """``{ target = "provider/model", weight = 3 }`` in a route's ``targets``."""

    target: Any
    weight: f.Weight = 1.0
    set: f.Parameters = Field(default_factory=dict)


class RouteTable(_Table):
    """``[routes.NAME]``"""

    targets: tuple[Any, ...] = ()
    """``"provider/model"``, a :class:`TargetTable`, or a list of them: equals, tried in an order drawn by weight."""
    models: tuple[f.Pattern, ...] = ()
    on_break: f.OnBreakField = "error"
    fallback_on: tuple[f.FallbackOn, ...] = ()
    drop: tuple[f.Droppable, ...] = tuple(sorted(HARMLESS))
    set: f.Parameters = Field(default_factory=dict)
    max_output_tokens: f.Tokens | None = None
    timeouts: RouteTimeoutsTable = RouteTimeoutsTable()
    retry: RouteRetryTable = RouteRetryTable()


class KeyTable(_Table):
    """``[keys.NAME]``"""

    sha256: f.Sha256
    routes: tuple[Any, ...] | None = None
    """Names, read together with the routes there are."""
    models: tuple[f.Pattern, ...] | None = None


class Document(_Table):
    """The whole file."""

    gateway: Gateway = Gateway()
    ledger: Ledger = Ledger()
    timeouts: RouteTimeoutsTable = RouteTimeoutsTable()
    retry: RouteRetryTable = RouteRetryTable()
    outbound: OutboundTable = OutboundTable()
    providers: dict[str, ProviderTable] = Field(default_factory=dict)
    routes: dict[str, RouteTable] = Field(default_factory=dict)
    default_route: f.Text | None = None
    keys: dict[str, KeyTable] = Field(default_factory=dict)
    prices: dict[str, dict[str, Any]] = Field(default_factory=dict)
