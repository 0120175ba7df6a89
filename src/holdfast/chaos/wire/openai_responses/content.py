"""What messages and outputs of calls hold: texts, images, files."""

from __future__ import annotations

from typing import Any

from holdfast.chaos.wire.base import PART_TOKENS, Media, text_tokens
from holdfast.chaos.wire.media import data_url, inline
from holdfast.chaos.wire.openai_responses import fields

__all__ = ["GIVEN", "SAID", "Prompt"]

SAID = ("output_text", "refusal")
"""Parts of what the model said."""
GIVEN = ("input_text", "input_image", "input_file", "input_audio")
"""Parts of what it is told."""
_ADDRESSES = {"image": ("image_url", "file_id"), "file": ("file_data", "file_url", "file_id")}


class Prompt:
    """What was found in the input."""

    def __init__(self) -> None:
        self.tokens = 0
        self.last_user_text = ""
        self.media: list[Media] = []
        self.names_json = False
        """Whether a message has that word in it."""

    def say(self, text: str) -> None:
        """Count a text of a message."""
        self.tokens += text_tokens(text)
        self.names_json = self.names_json or "json" in text.lower()

    def read(self, item: dict[str, Any], name: str, path: str, allowed: tuple[str, ...]) -> str:
        """The text in an item's field, which holds a string or parts of the ``allowed`` types."""
        given = item.get(name)
        if given is None:
            raise fields.missing(f"{path}.{name}")
        if isinstance(given, str):
            self.say(given)
            return given
        if not isinstance(given, list):
            raise fields.wrong_type(f"{path}.{name}", "one of an array of objects or a string", given)
        said: list[str] = []
        for place, part in fields.items(item, name, f"{path}."):
            kind = fields.required(part, "type", f"{place}.")
            if kind not in allowed:
                raise fields.unsupported(place, kind, allowed)
            if kind in ("input_text", "output_text", "refusal"):
                said.append(fields.required(part, "refusal" if kind == "refusal" else "text", f"{place}."))
                self.say(said[-1])
            else:
                self.tokens += PART_TOKENS
                self.media.append(_media(part, kind.removeprefix("input_"), place))
        return "".join(said)


def _media(part: dict[str, Any], kind: str, path: str) -> Media:
    try:
        return _sound(part, path) if kind == "audio" else _file(part, kind, path)
    except ValueError as error:
        raise fields.refused(f"Invalid {kind}: {error}.", path, "invalid_value") from None


def _sound(part: dict[str, Any], path: str) -> Media:
    sound = fields.table(part, "input_audio", f"{path}.", required=True)
    data = fields.required(sound, "data", f"{path}.input_audio.")
    return inline("audio", f"audio/{fields.required(sound, 'format', f'{path}.input_audio.')}", data)


def _file(part: dict[str, Any], kind: str, path: str) -> Media:
    for name in _ADDRESSES[kind]:
        if (given := fields.text(part, name, f"{path}.")) is not None:
            return data_url(kind, given)
    raise fields.missing(f"{path}.{_ADDRESSES[kind][0]}")
