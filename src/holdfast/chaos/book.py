"""Which script an attempt follows, under which key, and which number it has there."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from holdfast.chaos.script import Script, parse

if TYPE_CHECKING:
    from holdfast.chaos.config import ChaosConfig
    from holdfast.chaos.wire.base import Asked

__all__ = ["Book"]

_KEY = re.compile(r"\[\[key=(?P<key>[^\]]{1,256})\]\]")
_INLINE = re.compile(r"\[\[chaos:(?P<script>.{1,4096}?)\]\]", re.DOTALL)
_CACHED = 4096  # model names remembered; a caller that makes names up must not fill the memory


class Book:
    """The scripts of one server and its count of attempts."""

    def __init__(self, config: ChaosConfig) -> None:
        self._default = parse(config.default)
        self._models = {name.lower(): parse(source) for name, source in config.scripts.items()}
        self._markers = {marker: parse(source) for marker, source in config.markers.items()}
        self._max_keys = config.max_keys
        self._counts: dict[str, int] = {}
        self._found: dict[str, Script] = {}

    def look_up(self, request: Asked) -> tuple[Script, str]:
        """The script for ``request`` and its key. Raises :class:`ChaosError` for a bad script in the prompt."""
        prompt = request.last_user_text
        named = _KEY.search(prompt) if "[[" in prompt else None
        return self._script(request.model, prompt), named["key"] if named else request.model

    def next_attempt(self, key: str) -> int:
        """The number of this attempt under ``key``, from 1."""
        number = self._counts.get(key, 0) + 1
        if number == 1 and len(self._counts) >= self._max_keys:
            del self._counts[next(iter(self._counts))]
        self._counts[key] = number
        return number

    def set_scripts(self, sources: dict[str, Any]) -> None:
        """Set the scripts of model patterns, all or none; attempts whose key fits one count from 1 again."""
        scripts = {pattern.lower(): parse(source) for pattern, source in sources.items()}
        self._models.update(scripts)
        self._found.clear()
        for key in [key for key in self._counts if any(fnmatchcase(key.lower(), p) for p in scripts)]:
            del self._counts[key]

    def reset(self) -> None:
        """Count all attempts from 1 again."""
        self._counts.clear()

    def sources(self) -> dict[str, Any]:
        """Pattern -> script as it was given."""
        return {pattern: script.source for pattern, script in self._models.items()}

    def _script(self, model: str, prompt: str) -> Script:
        if "[[chaos:" in prompt and (inline := _INLINE.search(prompt)):
            return parse(inline["script"])
        for marker, script in self._markers.items():
            if marker in prompt:
                return script
        if (known := self._found.get(model)) is None:
            if len(self._found) >= _CACHED:
                self._found.clear()
            known = self._found[model] = self._by_model(model.lower())
        return known

    def _by_model(self, model: str) -> Script:
        if (exact := self._models.get(model)) is not None:
            return exact
        return next((s for pattern, s in self._models.items() if fnmatchcase(model, pattern)), self._default)
