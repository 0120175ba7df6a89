"""A provider that fails on purpose: a real HTTP server that speaks Chat Completions, follows scripts and keeps a journal.

It shares no code with the product that it tests, so that a misreading of the wire can't hide on both sides.
"""

from .config import ChaosConfig
from .errors import ChaosError
from .faults import FAULTS, Fault
from .journal import Entry, Journal
from .runner import Chaos, run_chaos, serve
from .script import Script, parse
from .server import ChaosServer

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
    "parse",
    "run_chaos",
    "serve",
]
