"""The configuration file as it may be written: every table and setting, its range and its default.

A setting that is ``None`` here wasn't set: what it then is, and why, is decided in :mod:`holdfast.config.effective`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from holdfast.config import fields as f  # pydantic evaluates annotations
from holdfast.config import pricing
from holdfast.config.server_url import ServerUrl
from holdfast.dialects.fields import HARMLESS
from holdfast.engine.policy import Idempotency
from holdfast.money.cost_breaker import CostBreakerSettings
from holdfast.money.rules import BudgetRule
from holdfast.money.session import SessionSettings
from holdfast.resilience.adaptive import AdaptiveSettings
from holdfast.resilience.breaker import BreakerSettings
from holdfast.resilience.bulkhead import BulkheadSettings
from holdfast.resilience.hedge import HedgeSettings
from holdfast.resilience.rate_meter import RateLimitSettings
from holdfast.resilience.retry_budget import RetryBudgetSettings

__all__ = [
    "AdaptiveTable",
    "BreakerTable",
    "BudgetTable",
    "BulkheadTable",
    "CostProtectionTable",
    "DeploymentTable",
    "Document",
    "Gateway",
    "HedgeTable",
    "IdempotencyTable",
    "KeyTable",
    "Ledger",
    "Log",
    "ModelTable",
    "OutboundTable",
    "OverallTable",
    "OwnKeyTable",
    "PricingTable",
    "ProviderTable",
    "RateTable",
    "Redis",
    "RetryTable",
    "RouteRetryTable",
    "RouteTable",
    "RouteTimeoutsTable",
    "SessionsTable",
    "TargetTable",
    "TimeoutsTable",
]


class _Table(BaseModel):
    # hide_input: pydantic's own texts would quote what was written, and that may be a secret
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class RateTable(_Table):
    """``[rate]``, and under providers and routes: what each target is sent. Under keys and models: what callers may ask."""

    requests: Annotated[int | None, f.of(RateLimitSettings, "requests")] = None
    tokens: Annotated[int | None, f.of(RateLimitSettings, "tokens")] = None
    window_s: Annotated[float | None, f.of(RateLimitSettings, "window_s")] = None
    max_queue: Annotated[int | None, f.of(RateLimitSettings, "max_queue")] = None
    max_wait_s: Annotated[float | None, f.of(RateLimitSettings, "max_wait_s")] = None


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
    workers: f.Workers = 1
    """Processes that serve the one address."""
    admin_key: f.SecretText | None = None
    metrics_key: f.SecretText | None = None
    master_key: f.SecretText | None = None
    """Opens tenants' own keys that are kept in the ledger's database. Several with commas between: the first one seals."""
    master_key_file: f.Text | None = None
    own_keys_only: f.Switch = False
    """What ``[keys.NAME]`` has that don't say: whether their holders are served with keys of their own alone."""
    log: Log = Log()
    rate: RateTable = RateTable()
    """Of every caller's key that sets none itself."""

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body_mb * 2**20)


class Ledger(_Table):
    """``[ledger]``"""

    url: f.LedgerUrl = "sqlite:///holdfast.db"
    """As it may be shown: one of a server is a :class:`~holdfast.config.server_url.ServerUrl`, which keeps its password."""
    durability: f.Durability = "process"
    """What a committed row survives: ``process``: kill -9; ``power``: a power cut too."""
    busy_timeout_s: f.Seconds = 5.0
    keep_days: f.Days | None = None
    """Requests that ended longer ago are deleted; None: never."""

    @property
    def shared(self) -> bool:
        """Several processes may write it: PostgreSQL, and not a file of SQLite's."""
        return isinstance(self.url, ServerUrl)

    @property
    def path(self) -> str:
        """SQLite's file, relative to the working directory unless it begins with a slash; else the URL, as it is shown."""
        return self.url.removeprefix("sqlite:///")


class Redis(_Table):
    """``[redis]``: what several processes share and may lose. The environment's ``REDIS_URL`` goes over ``url``."""

    url: f.RedisUrl = None
    timeout_ms: f.Milliseconds = 20.0
    """Of one command."""
    budget_ms: f.Milliseconds = 50.0
    """Of all that one request asks of it."""
    prefix: f.KeyPrefix = "holdfast"
    """What every key in it begins with."""


class TimeoutsTable(_Table):
    """``[providers.NAME.timeouts]``: limits of one attempt."""

    connect_s: f.Seconds | None = None
    first_token_s: f.Seconds | None = None
    answer_s: f.Seconds | None = None
    idle_s: f.Seconds | None = None
    min_tokens_per_s: f.TokensPerSecond | None = None


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
    budget_ratio: Annotated[float | None, f.of(RetryBudgetSettings, "ratio")] = None
    budget_floor_per_s: Annotated[float | None, f.of(RetryBudgetSettings, "floor_per_s")] = None


class RouteRetryTable(RetryTable):
    """``[retry]`` and ``[routes.NAME.retry]``"""

    max_attempts: f.Attempts | None = None


class BreakerTable(_Table):
    """``[breaker]``, and the same under providers and routes"""

    enabled: f.Switch | None = None
    failure_threshold: Annotated[int | None, f.of(BreakerSettings, "failure_threshold")] = None
    success_threshold: Annotated[int | None, f.of(BreakerSettings, "success_threshold")] = None
    min_requests: Annotated[int | None, f.of(BreakerSettings, "min_requests")] = None
    failure_ratio: Annotated[float | None, f.of(BreakerSettings, "failure_ratio")] = None
    window_s: Annotated[float | None, f.of(BreakerSettings, "window_s")] = None
    open_s: Annotated[float | None, f.of(BreakerSettings, "open_s")] = None
    open_multiplier: Annotated[float | None, f.of(BreakerSettings, "open_multiplier")] = None
    max_open_s: Annotated[float | None, f.of(BreakerSettings, "max_open_s")] = None
    jitter: Annotated[float | None, f.of(BreakerSettings, "jitter")] = None
    half_open_s: Annotated[float | None, f.of(BreakerSettings, "half_open_s")] = None


class BulkheadTable(_Table):
    """``[bulkhead]``, and the same under providers and routes"""

    enabled: f.Switch | None = None
    max_concurrent: Annotated[int | None, f.of(BulkheadSettings, "max_concurrent")] = None
    max_queue: Annotated[int | None, f.of(BulkheadSettings, "max_queue")] = None
    max_wait_s: Annotated[float | None, f.of(BulkheadSettings, "max_wait_s")] = None


class OverallTable(_Table):
    """``[overall]``: of all providers together."""

    max_concurrent: Annotated[int | None, f.of(BulkheadSettings, "max_concurrent")] = None
    max_queue: Annotated[int | None, f.of(BulkheadSettings, "max_queue")] = None
    max_wait_s: Annotated[float | None, f.of(BulkheadSettings, "max_wait_s")] = None


class AdaptiveTable(_Table):
    """``[adaptive]``, and the same under providers and routes"""

    enabled: f.Switch | None = None
    min_limit: Annotated[int | None, f.of(AdaptiveSettings, "min_limit")] = None
    initial_limit: Annotated[int | None, f.of(AdaptiveSettings, "initial_limit")] = None
    max_limit: Annotated[int | None, f.of(AdaptiveSettings, "max_limit")] = None
    increase: Annotated[int | None, f.of(AdaptiveSettings, "increase")] = None
    decrease: Annotated[float | None, f.of(AdaptiveSettings, "decrease")] = None
    restart_after: Annotated[int | None, f.of(AdaptiveSettings, "restart_after")] = None


class HedgeTable(_Table):
    """``[hedge]``, and the same under providers and routes"""

    enabled: f.Switch | None = None
    delay_s: Annotated[float | None, f.of(HedgeSettings, "delay_s")] = None
    percentile: Annotated[float | None, f.of(HedgeSettings, "percentile")] = None
    min_samples: Annotated[int | None, f.of(HedgeSettings, "min_samples")] = None
    max_hedges: Annotated[int | None, f.of(HedgeSettings, "max_hedges")] = None
    ratio: Annotated[float | None, f.of(HedgeSettings, "ratio")] = None
    burst: Annotated[int | None, f.of(HedgeSettings, "burst")] = None


class IdempotencyTable(_Table):
    """``[idempotency]`` and ``[routes.NAME.idempotency]``"""

    ttl_s: Annotated[float | None, f.of(Idempotency, "ttl_s")] = None
    max_joined: Annotated[int | None, f.of(Idempotency, "max_joined")] = None


class CostProtectionTable(_Table):
    """``[cost_protection]``: limits of money for all callers. The environment's ``COST_PROTECTION_*`` go over it."""

    enabled: f.Switch | None = None
    max_session_cost_usd: f.Dollars | None = None
    session_minutes: f.Minutes | None = None
    warn_at: Annotated[float | None, f.of(SessionSettings, "warn_at")] = None
    hourly_limit_usd: f.Dollars | None = None
    circuit_breaker_threshold_usd: f.Dollars | None = None
    circuit_breaker_window_hours: f.Hours | None = None
    cool_down_s: Annotated[float | None, f.of(CostBreakerSettings, "cool_down_s")] = None


class SessionsTable(_Table):
    """``[sessions]``"""

    ids_from: tuple[f.SessionSource, ...] = ()
    """Where a session's id comes from if the caller sends no ``x-holdfast-session``, in this order."""
    max_remembered: Annotated[int, f.of(SessionSettings, "most")] = SessionSettings().most
    max_per_key: Annotated[int, f.of(SessionSettings, "most_of_key")] = SessionSettings().most_of_key


class ModelTable(_Table):
    """``[models."PATTERN"]``: of what callers ask for."""

    rate: RateTable = RateTable()


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
    breaker: BreakerTable = BreakerTable()
    bulkhead: BulkheadTable = BulkheadTable()
    adaptive: AdaptiveTable = AdaptiveTable()
    hedge: HedgeTable = HedgeTable()
    rate: RateTable = RateTable()


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
    unbounded: f.Unbounded = "refuse"
    settle_unseen: f.SettleUnseen = "bound"
    lower_max_tokens: f.Switch = False
    timeouts: RouteTimeoutsTable = RouteTimeoutsTable()
    retry: RouteRetryTable = RouteRetryTable()
    breaker: BreakerTable = BreakerTable()
    bulkhead: BulkheadTable = BulkheadTable()
    adaptive: AdaptiveTable = AdaptiveTable()
    hedge: HedgeTable = HedgeTable()
    rate: RateTable = RateTable()
    idempotency: IdempotencyTable = IdempotencyTable()


class OwnKeyTable(_Table):
    """``[keys.NAME.providers.PROVIDER]``: this caller's own key to that provider."""

    api_key: f.SecretText | None = None
    api_key_file: f.Text | None = None
    base_url: f.BaseUrl | None = None
    """An address that belongs to the key."""


class KeyTable(_Table):
    """``[keys.NAME]``"""

    sha256: f.Sha256
    routes: tuple[Any, ...] | None = None
    """Names, read together with the routes there are."""
    models: tuple[f.Pattern, ...] | None = None
    team: f.Label | None = None
    tags: f.Labels = Field(default_factory=dict)
    """On every request of its holder's, whatever tags those bring."""
    rate: RateTable = RateTable()
    own_keys_only: f.Switch | None = None
    providers: dict[str, OwnKeyTable] = Field(default_factory=dict)


class PricingTable(_Table):
    """``[pricing]``: models whose price nobody knows."""

    unknown: f.UnknownPriceAction = "serve"
    ceiling_input_per_1m: pricing.Dollars | None = None
    ceiling_output_per_1m: pricing.Dollars | None = None


class BudgetTable(_Table):
    """``[budgets.NAME]``"""

    scope: f.BudgetScope = "all"
    """``"all"``, ``"key"``, ``"session"``, ``"team"``, ``"model"`` or ``"tag:NAME"``: whose spending is counted together."""
    match: tuple[f.Pattern, ...] = ()
    """Of the keys, sessions, teams, models or tag values: those that it holds for."""
    limit_usd: f.Dollars | None = None
    limit_tokens: Annotated[int | None, f.of(BudgetRule, "limit_tokens")] = None
    window: f.BudgetWindow | None = None
    hard: f.Switch = True
    warn_at: Annotated[float | None, f.of(BudgetRule, "warn_at")] = None


class Document(_Table):
    """The whole file."""

    gateway: Gateway = Gateway()
    ledger: Ledger = Ledger()
    redis: Redis = Redis()
    timeouts: RouteTimeoutsTable = RouteTimeoutsTable()
    retry: RouteRetryTable = RouteRetryTable()
    breaker: BreakerTable = BreakerTable()
    bulkhead: BulkheadTable = BulkheadTable()
    adaptive: AdaptiveTable = AdaptiveTable()
    hedge: HedgeTable = HedgeTable()
    rate: RateTable = RateTable()
    idempotency: IdempotencyTable = IdempotencyTable()
    overall: OverallTable = OverallTable()
    cost_protection: CostProtectionTable = CostProtectionTable()
    sessions: SessionsTable = SessionsTable()
    outbound: OutboundTable = OutboundTable()
    providers: dict[str, ProviderTable] = Field(default_factory=dict)
    routes: dict[str, RouteTable] = Field(default_factory=dict)
    default_route: f.Text | None = None
    keys: dict[str, KeyTable] = Field(default_factory=dict)
    models: dict[str, ModelTable] = Field(default_factory=dict)
    budgets: dict[str, BudgetTable] = Field(default_factory=dict)
    prices: dict[str, dict[str, Any]] = Field(default_factory=dict)
    pricing: PricingTable = PricingTable()
