"""Which script an attempt follows: the configuration, read once, asked for every attempt.

In this order, the first that fits decides: a script in the prompt, a window of the timeline, a marker in the prompt, the API
key, the route, the model, and last the default with its rates.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from holdfast.chaos.script import Script, parse, with_rates
from holdfast.chaos.settings import AnswerSettings
from holdfast.chaos.timeline import Timeline, fits

if TYPE_CHECKING:
    from holdfast.chaos.config import ChaosConfig
    from holdfast.chaos.wire.base import Asked

__all__ = ["Found", "Rules", "script_key"]

_KEY = re.compile(r"\[\[key=(?P<key>[^\]]{1,256})\]\]")
_INLINE = re.compile(r"\[\[chaos:(?P<script>.{1,4096}?)\]\]", re.DOTALL)
_WILD = frozenset("*?[")
_CACHED = 4096  # names remembered; a caller that makes names up must not fill the memory


class Found(NamedTuple):
    """What an attempt is to get."""

    rule: str
    """Where that is said, for the journal."""
    script: Script
    scale: float = 1.0
    """The part of its shares that holds now."""


class _Patterns:
    """Scripts by name or shell pattern. An exact name wins; else the first pattern that fits."""

    def __init__(self, kind: str, sources: dict[str, Any], pace: AnswerSettings, *, any_case: bool) -> None:
        self._kind = kind
        self._any_case = any_case
        self._scripts = {self._plain(name): parse(source, pace) for name, source in sources.items()}
        # Compiled here: fnmatch forgets its own after some hundreds, and a server may have thousands of names.
        self._patterns = [
            (re.compile(translate(name)), Found(f"{kind} {name}", script))
            for name, script in self._scripts.items()
            if not _WILD.isdisjoint(name)
        ]
        self._found: dict[str, Found | None] = {}

    def find(self, name: str) -> Found | None:
        if not self._scripts:
            return None
        if name not in self._found:
            if len(self._found) >= _CACHED:
                self._found.clear()
            self._found[name] = self._look_up(self._plain(name))
        return self._found[name]

    def _look_up(self, name: str) -> Found | None:
        if (exact := self._scripts.get(name)) is not None:
            return Found(f"{self._kind} {name}", exact)
        return next((found for pattern, found in self._patterns if pattern.match(name)), None)

    def _plain(self, name: str) -> str:
        return name.lower() if self._any_case else name


class Rules:
    """The scripts of one configuration."""

    def __init__(self, config: ChaosConfig) -> None:
        """Raises :class:`ChaosError` that names the setting, where one can't be meant."""
        pace = AnswerSettings(**msgspec.structs.asdict(config.pace))
        self._pace = pace
        self.timeline = Timeline(config.timeline)
        default = parse(config.default, pace)
        if config.rates:
            default = with_rates(default, config.rates)
        self._default = Found("default", default)
        self._markers = [
            (marker, Found(f"marker {marker}", parse(source, pace)))
            for marker, source in config.markers.items()
        ]
        # A key is a secret: the journal names its rule by number.
        self._keys = {
            key: Found(f"key {i}", parse(source, pace))
            for i, (key, source) in enumerate(config.keys.items(), 1)
        }
        self._routes = _Patterns("route", config.routes, pace, any_case=False)
        self._models = _Patterns("model", config.scripts, pace, any_case=True)
        healthy = parse(config.default, pace)
        self._windows = [
            Found(
                f"timeline {i}",
                with_rates(healthy, window.rates) if window.rates else parse(window.script, pace),
            )
            if window.rates or window.script is not None
            else None
            for i, window in enumerate(self.timeline.windows)
        ]

    def find(self, asked: Asked, path: str, api_key: str | None, now: float) -> Found:
        """What decides about an attempt at second ``now``. Raises :class:`ChaosError` for a bad script in the prompt."""
        prompt = asked.last_user_text
        if "[[chaos:" in prompt and (inline := _INLINE.search(prompt)):
            return Found("prompt", parse(inline["script"], self._pace))
        if self._windows and (window := self._window(asked.model, path, now)):
            return window
        for marker, found in self._markers:
            if marker in prompt:
                return found
        if self._keys and api_key is not None and (by_key := self._keys.get(api_key)):
            return by_key
        return self._routes.find(path) or self._models.find(asked.model) or self._default

    def _window(self, model: str, path: str, now: float) -> Found | None:
        for i, window, progress in self.timeline.on(now):
            found = self._windows[i]
            if found is not None and fits(window, model, path):
                return found._replace(scale=window.scale(progress))
        return None


def script_key(asked: Asked) -> str:
    """Whose attempts are counted together: ``[[key=…]]`` in the prompt, else the model."""
    prompt = asked.last_user_text
    named = _KEY.search(prompt) if "[[" in prompt else None
    return named["key"] if named else asked.model
