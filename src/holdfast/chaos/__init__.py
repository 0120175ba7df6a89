"""A provider that fails on purpose: a real HTTP server that speaks as OpenAI, Anthropic and Gemini do (and as DeepSeek,
OpenRouter and Azure), follows scripts and keeps a journal.

It shares no code with the product that it tests, so that a misreading of the wire can't hide on both sides.
"""

from holdfast.chaos import presets
from holdfast.chaos.config import ChaosConfig, merge
from holdfast.chaos.errors import ChaosError
from holdfast.chaos.faults import FAULTS, Fault
from holdfast.chaos.journal import Entry, Journal
from holdfast.chaos.runner import Chaos, run_chaos, serve
from holdfast.chaos.script import Script, parse
from holdfast.chaos.server import ChaosServer

__all__ = [
    "FAULTS",
    "Chaos",
    "ChaosConfig",
    "ChaosError",
    "ChaosServer",
    "Entry",
    "Fault",
    "Journal",
    "Script",
    "merge",
    "parse",
    "presets",
    "run_chaos",
    "serve",
]
