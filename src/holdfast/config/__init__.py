"""The configuration: one TOML file and the environment in, frozen values out, or every error at once."""

from holdfast.config.effective import CHAT, Config, Deployment, Key, Provider, is_loopback, with_simulated
from holdfast.config.explain import ExplainedTarget, Explanation, Value, explain
from holdfast.config.load import Report, check, load, parse, read_text
from holdfast.config.schema import Gateway, Ledger, Log, Redis
from holdfast.config.server_url import ServerUrl

__all__ = [
    "CHAT",
    "Config",
    "Deployment",
    "ExplainedTarget",
    "Explanation",
    "Gateway",
    "Key",
    "Ledger",
    "Log",
    "Provider",
    "Redis",
    "Report",
    "ServerUrl",
    "Value",
    "check",
    "explain",
    "is_loopback",
    "load",
    "parse",
    "read_text",
    "with_simulated",
]
