"""A gateway in virtual time whose configuration is text that a test changes."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.unit.gateway.door import Door, Said

from holdfast.config import parse
from holdfast.errors import ConfigError
from holdfast.gateway.reload import Source
from holdfast.testing.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from holdfast.config import Config
    from holdfast.testing.virtual_time import VirtualClock

ADMIN = {"authorization": "Bearer adm-secret"}
BASE = """
[gateway]
admin_key = "adm-secret"
[providers.a]
dialect = "openai_chat"
base_url = "http://a/v1"
api_key = "sk-a-canary"
[providers.b]
dialect = "openai_chat"
base_url = "http://b/v1"
api_key = "sk-b-canary"
[retry]
max_retries = 0
"""


class Text:
    """The configuration's file."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.env: Mapping[str, str] = {}
        self.reads = 0

    def read(self) -> Config:
        self.reads += 1
        try:
            document = tomllib.loads(self.text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"the file is not valid TOML: {error}") from None
        return parse(document, self.env)


class Reloading:
    """The gateway, its file and its operator."""

    def __init__(self, door: Door, file: Text) -> None:
        self.door = door
        self.file = file

    @property
    def app(self) -> Any:
        return self.door.app

    async def reload(self, text: str | None = None, query: str = "", **headers: str) -> Said:
        """Writes the file, and asks for it to be read."""
        if text is not None:
            self.file.text = text
        return await self.door.ask("POST", f"/admin/reload{query}", headers={**ADMIN, **headers})

    async def becomes(self, text: str) -> dict[str, Any]:
        """The same, where that succeeds."""
        said = await self.reload(text)
        assert said.status == 200, said.body
        return said.json

    async def config(self) -> dict[str, Any]:
        return (await self.door.ask("GET", "/admin/config", headers=ADMIN)).json

    def sent(self) -> list[str]:
        """What was sent where, in order: host and model."""
        return [where(each.request) for each in self.app.transport.exchanges]


def where(request: Any) -> str:
    """The host that a request went to."""
    return str(request.origin).partition("//")[2].partition(":")[0].partition("/")[0]


def reloading(
    main: Callable[[Reloading], Awaitable[None]], text: str, replies: Any = (), **source: Any
) -> None:
    async def run(clock: VirtualClock) -> None:
        file = Text(text)
        door = await Door.open(clock, replies, text, source=Source(read=file.read, **source))
        await main(Reloading(door, file))

    run_virtual(run)
