"""Where a provider is reached, bound once at start: nothing here is worked out again for each request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.base import Dialect
    from holdfast.errors import ProviderError
    from holdfast.secret import Secret
    from holdfast.transport.base import Origin

__all__ = ["AUTH", "Endpoint", "KeyOf"]

KeyOf = Literal["shared", "own", "caller"]
"""Whose a key is: the gateway's; the tenant's own, which the gateway keeps; or the caller's, which came with the request."""

AUTH: Final[Mapping[str, tuple[bytes, bytes]]] = {
    "bearer": (b"authorization", b"Bearer "),
    "x-api-key": (b"x-api-key", b""),
    "x-goog-api-key": (b"x-goog-api-key", b""),
    "api-key": (b"api-key", b""),
}
"""How each way of authentication carries a key: the header, and what stands before the key."""

_OF_A_KEY: Final = frozenset(
    (*(name for name, _ in AUTH.values()), b"openai-organization", b"openai-project")
)
"""Headers that carry a key, or name the account that it belongs to."""

_MAX_HEADER = 256


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's door for one dialect."""

    provider: str
    deployment: str = ""
    dialect: Dialect
    origin: Origin
    path: str
    """Of the URL, with the base URL's own path in front: ``/v1/chat/completions``. May hold ``{model}``."""
    stream_path: str | None = None
    """Where streams are asked for, if that is another place."""
    headers: tuple[tuple[bytes, bytes], ...]
    """Sent with every request; holds the provider's key, so it is never logged."""
    max_tokens_field: str = "max_tokens"
    """What this provider calls the output limit, where we set one."""
    unsupported: tuple[str, ...] = ()
    """Fields that its dialect has and this provider doesn't take: names of parameters, and ``image``, ``audio``, ``file``,
    ``video``."""
    secrets: tuple[Secret, ...] = ()
    """Scrubbed from whatever the provider says back."""
    key_of: KeyOf = "shared"
    """Whose key it sends: a refusal of another's than ours is its owner's to hear."""

    def with_key(self, key: Secret, auth: str, *, of: KeyOf, deployment: str) -> Endpoint:
        """This door for another's key, which travels as ``auth`` says. Nothing of ours that says who pays goes with it."""
        name, prefix = AUTH[auth]
        kept = [header for header in self.headers if header[0] not in _OF_A_KEY]
        return msgspec.structs.replace(
            self,
            deployment=deployment,
            headers=(*kept, (name, prefix + key.reveal().encode())),
            secrets=(*self.secrets, key),
            key_of=of,
        )

    @property
    def limitless(self) -> bool:
        """It takes no output limit: nothing but the model ends its answers."""
        if not self.unsupported:  # nearly always
            return False
        field = self.dialect.output_limit
        return (self.max_tokens_field if field is None else field) in self.unsupported

    def path_for(self, model: str, *, stream: bool) -> str:
        """The path to ask ``model`` at, percent-encoded where the model stands in it."""
        path = self.stream_path if stream and self.stream_path is not None else self.path
        if "{model}" not in path:  # nearly always
            return path
        return path.replace("{model}", quote(model.removeprefix("models/"), safe=""))

    def __repr__(self) -> str:
        return f"Endpoint({self.provider!r}, {self.origin}{self.path})"  # the headers hold the key

    def __rich_repr__(
        self,
    ) -> list[tuple[str, Any]]:  # else a pretty printer would take the fields one by one
        return [("provider", self.provider), ("url", f"{self.origin}{self.path}")]

    def scrub(self, data: bytes) -> bytes:
        """``data`` without our secrets: a provider may quote the request's headers in its errors."""
        for secret in self.secrets:
            data = secret.scrub(data)
        return data

    def scrub_text(self, text: str) -> str:
        """The same for a header's value, of at most 256 characters: it ends up in the ledger and in logs."""
        return self.scrub(text[:_MAX_HEADER].encode()).decode(errors="replace")

    def scrubbed(self, error: ProviderError) -> ProviderError:
        """``error`` as this provider's, with everything that it said in it scrubbed."""
        error.dialect = self.dialect.name
        error.body = self.scrub(error.body)
        error.message = self.scrub(error.message.encode()).decode()
        error.args = (error.message,)
        error.param = self.scrub_text(error.param) if error.param else None
        error.kind = self.scrub_text(error.kind) if error.kind else None
        return error
