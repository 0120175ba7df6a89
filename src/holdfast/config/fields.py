"""The kinds of value a setting may have, each with the one sentence that says what would be right."""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from holdfast.config.problems import did_you_mean
from holdfast.config.server_url import ServerUrl, postgres_url, redis_url
from holdfast.config.substitute import Substituted
from holdfast.dialects.fields import NEUTRAL
from holdfast.money.cost import to_nano, to_usd
from holdfast.money.rules import MOST_NANO, WINDOWS
from holdfast.money.session import SOURCES
from holdfast.providers.catalog import MEDIA
from holdfast.resilience.settings import ranges
from holdfast.secret import Secret
from holdfast.transport.proxy import Proxy
from holdfast.transport.tls import check_ca_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.resilience.settings import Settings

DAY_S: Final = 86_400
MOST_USD: Final = to_usd(MOST_NANO).quantize(Decimal(1))

_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PATTERN: Final = re.compile(r"[A-Za-z0-9*?][A-Za-z0-9._:/@+*?-]{0,255}")
_LABEL: Final = re.compile(r"[\w.:/-]{1,64}")
_MOST_LABELS: Final = 16
_OURS: Final = frozenset(
    (
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "te",
        "upgrade",
        "proxy-authorization",
        "proxy-connection",
    )
)
"""Headers that frame the message: ours to write, or the connection breaks."""


def wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("holdfast", "{text}", {"text": text})


def shown(value: Any) -> str:
    """``value`` for a message: numbers as they are, of all else only the kind, since it may be a secret out of place."""
    if isinstance(value, Substituted):
        return "what " + ", ".join(f"${{{name}}}" for name in value.variables) + " holds"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Decimal)):
        number = Decimal(value)
        if not number.is_finite():
            return "an infinite number or none at all"
        # Compared before it is printed: Python refuses to print integers of more than 4,300 digits.
        return "a number as large as that" if abs(number) >= 10**12 else str(value)[:32]
    for kind, name in ((str, "a string"), (list, "a list"), (tuple, "a list"), (dict, "a table")):
        if isinstance(value, kind):
            return name
    return "a date or time"


def as_number(value: Any) -> Decimal | None:
    """A finite number, also from text that the environment gave; None for anything else."""
    if isinstance(value, Substituted):
        try:
            number = Decimal(value.strip())
        except InvalidOperation:
            return None
    elif isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    else:
        number = Decimal(value)
    return number if number.is_finite() else None


def _number(what: str, *, least: Decimal, most: Decimal, above: bool) -> Callable[[Any], float]:
    right = f"must be {what} {'above' if above else 'from'} {least} {'and at most' if above else 'to'} {most}"

    def check(value: Any) -> float:
        number = as_number(value)
        if number is None or number > most or number < least or (above and float(number) == least):
            raise wrong(f"{right}, not {shown(value)}")  # as a float, since 1e-999 is then 0
        return float(number)

    return check


def _integer(what: str, *, least: int, most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        number = as_number(value)
        if number is None or not least <= number <= most or number != number.to_integral_value():
            raise wrong(f"must be {what} from {least} to {most}, not {shown(value)}")
        return int(number)

    return check


def dollars(value: Any) -> Decimal:
    """An amount of money, exactly: what binary fractions can't hold has more decimals than there are."""
    number = as_number(value)
    if number is None or not 0 < number <= MOST_USD or to_usd(to_nano(number)) != number:
        raise wrong(
            f"must be an amount of dollars above 0 and at most {MOST_USD}, with 9 decimals at most, not {shown(value)}"
        )
    return number


def of(settings: type[Settings], name: str) -> PlainValidator:
    """What a policy's setting may be, as the policy itself says it."""
    allowed = ranges(settings)[name]

    def check(value: Any) -> float:
        number = as_number(value)
        if number is not None and abs(number) < Decimal(10) ** 18:
            given = int(number) if allowed.integer and number == number.to_integral_value() else float(number)
            if allowed.permits(given):
                return given
        raise wrong(f"must be {allowed}, not {shown(value)}")

    return PlainValidator(check)


def _switch(value: Any) -> bool:
    if isinstance(value, Substituted) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if isinstance(value, bool):
        return value
    raise wrong(f"must be true or false, not {shown(value)}")


def _one_of(*choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if isinstance(value, str) and value in choices:
            return str(value)
        listed = " or ".join(f'"{choice}"' for choice in choices)
        near = did_you_mean(value, choices) if type(value) is str else ""
        raise wrong(f"must be {listed}, not {shown(value)}{near}")

    return check


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise wrong(
            f"must be a string that isn't empty, not {'an empty one' if value == '' else shown(value)}"
        )
    return str(value)


def secret(value: Any) -> Secret:
    if not isinstance(value, str):
        raise wrong(
            f"must be a string, not {'a number' if isinstance(value, (int, float, Decimal)) else shown(value)}"
        )
    key = value.strip()  # a file's last newline is the commonest part of a key that doesn't belong to it
    if not key.isascii() or not key.isprintable():
        raise wrong(
            "holds characters that can't be part of a key: it goes into an HTTP header, as printable ASCII"
        )
    return Secret(key)


def _headers(value: Any) -> dict[str, Secret]:
    if not isinstance(value, dict):
        raise wrong(f"must be a table of names and strings, not {shown(value)}")
    headers: dict[str, Secret] = {}
    for name, content in value.items():
        if not _HEADER_NAME.fullmatch(name):
            raise wrong("has a name that can't be an HTTP header's; use letters, digits and -")
        if name.lower() in _OURS:
            raise wrong(f"{name} is written by the gateway itself and can't be set")
        if name.lower() in headers:
            raise wrong(f"{name} is there twice: header names don't differ by case")
        if not isinstance(content, str):
            raise wrong(f"{name} must be a string")
        if not (content.isascii() and content.isprintable()):
            raise wrong(f"{name} holds characters that can't be in an HTTP header; use printable ASCII")
        headers[name.lower()] = Secret(content.strip())
    return headers


def base_url(value: Any) -> str:
    """A provider's address, without a slash at its end."""
    right = "must be an address such as https://host/v1"
    if not isinstance(value, str):
        raise wrong(f"{right}, not {shown(value)}")
    url = value.strip()
    if not url.isascii() or not url.isprintable() or " " in url:
        raise wrong(f"{right}: it holds characters that can't be in one")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong(f"{right}: its host or port can't be read") from None
    if parts.scheme not in ("http", "https"):
        raise wrong(f"{right}: it does not begin with http:// or https://")
    if not parts.hostname or port == 0:
        raise wrong(
            f"{right}: it names no host" if not parts.hostname else f"{right}: port 0 can't be reached"
        )
    if parts.username is not None:
        raise wrong(f"{right}: name and password don't belong into it; use api_key or headers")
    if parts.query or parts.fragment:
        raise wrong(f"{right}: what follows ? or # don't belong into it")
    return url.rstrip("/")


NO_KEY: Final = frozenset(("", "none"))
"""What people write where there is no key."""
_NONE: Final = NO_KEY


def _proxy(value: Any) -> Proxy | None:
    if not isinstance(value, str):
        raise wrong(f'must be a proxy\'s address, such as "http://host:3128", or "none", not {shown(value)}')
    if value.strip().lower() in _NONE:
        return None
    try:
        return Proxy.parse(value.strip())
    except ValueError as error:
        raise wrong(str(error)) from None


def _ca_file(value: Any) -> str | None:
    if not isinstance(value, str):
        raise wrong(f'must be the path of a PEM file, or "none", not {shown(value)}')
    if value.strip().lower() in _NONE:
        return None
    try:
        check_ca_file(value)
    except ValueError as error:
        raise wrong(str(error)) from None
    return str(value)


def api_version(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9A-Za-z._-]{1,32}", value.strip()):
        raise wrong(f'must be a version such as "2024-10-21", not {shown(value)}')
    return str(value.strip())


def _deployment_name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", value):
        raise wrong(f"must be a name of up to 32 letters, digits and . _ -, not {shown(value)}")
    return str(value)


def _host(value: Any) -> str:
    if isinstance(value, str):
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            if _HOST.fullmatch(value):
                return value.lower()
    raise wrong(f'must be an IP address or a host name, such as "127.0.0.1", not {shown(value)}')


def _ledger_url(value: Any) -> str:
    if isinstance(value, str) and value.strip().startswith(("postgresql://", "postgres://")):
        return _server_url(postgres_url, value)
    if not isinstance(value, str) or not value.startswith("sqlite:///") or value == "sqlite:///":
        raise wrong(
            'must be "sqlite:///" and a file, such as "sqlite:///holdfast.db", or "postgresql://USER:PASSWORD@HOST/DATABASE"'
        )
    if value.endswith(("/", ":memory:")) or "?" in value or "\0" in value:
        raise wrong('must be "sqlite:///" and a file on disk: a ledger in memory is no record')
    return str(value)


def _redis_url(value: Any) -> ServerUrl | None:
    if not isinstance(value, str):
        raise wrong(f'must be an address such as "redis://HOST:6379/0", or "none", not {shown(value)}')
    return None if value.strip().lower() in _NONE else _server_url(redis_url, value)


def _server_url(read: Callable[[str], ServerUrl], value: str) -> ServerUrl:
    try:
        return read(value.strip())
    except ValueError as error:
        raise wrong(str(error)) from None


def _prefix(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", value):
        raise wrong("must be 1 to 64 letters, digits and . _ : -, the first a letter or digit")
    return str(value)


def _sha256(value: Any) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise wrong("must be the key's SHA-256 as 64 hexadecimal digits (printf %s KEY | sha256sum)")
    return bytes.fromhex(value)


def pattern(value: Any) -> str:
    if not isinstance(value, str) or not _PATTERN.fullmatch(value):
        raise wrong(
            'must be a model\'s name or a pattern such as "gpt-*": letters, digits, . _ : / @ + -, and * ? for any'
        )
    return str(value)


def label(value: Any) -> str:
    """A team, a tag's name or its value, as callers' headers carry them."""
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise wrong("must be 1 to 64 letters, digits and . : / _ -")
    return str(value)


def labels(value: Any) -> dict[str, str]:
    """Tags."""
    if not isinstance(value, dict):
        raise wrong(f"must be a table of names and strings, not {shown(value)}")
    if len(value) > _MOST_LABELS:
        raise wrong(f"holds {len(value)} tags: {_MOST_LABELS} at most")
    if not all(isinstance(part, str) and _LABEL.fullmatch(part) for pair in value.items() for part in pair):
        raise wrong("must have names and values of 1 to 64 letters, digits and . : / _ -")
    return {str(name): str(tag) for name, tag in value.items()}


def _fallback_on(value: Any) -> int | str:
    if isinstance(value, Substituted) and value.strip().isdecimal():
        value = int(value.strip()) if len(value) < 9 else value
    if isinstance(value, str) and value == "content_policy":
        return "content_policy"
    if isinstance(value, int) and not isinstance(value, bool) and value in (401, 403, 404):
        return value
    raise wrong(
        f'must be 401, 403, 404 or "content_policy", not {shown(value)}: '
        "the caller's own faults end a request, and the provider's go to the next target anyway"
    )


def _jitter(value: Any) -> Literal["full"] | float:
    if isinstance(value, str) and value == "full":
        return "full"
    number = as_number(value)
    if number is None or not 0 <= number <= 1:
        raise wrong(f'must be "full" or a fraction from 0 to 1, not {shown(value)}')
    return float(number)


_NOT_DROPPED: Final = frozenset(("model", "messages", "stream", "stream_options"))


def _droppable(value: Any) -> str:
    """A field's neutral name (``image.detail``), or a caller's own parameter."""
    if isinstance(value, str) and value in NEUTRAL:
        return str(value)
    if isinstance(value, str) and "." in value:
        raise wrong(f"is no field that can be dropped{did_you_mean(value, NEUTRAL)}")
    return _parameter(value)


def _unsupported(value: Any) -> str:
    """A parameter's name, or a kind of part."""
    right = 'must be the name of a parameter, such as "seed", or of a kind of part: ' + ", ".join(MEDIA)
    if not isinstance(value, str) or not _PARAMETER.fullmatch(value):
        raise wrong(f"{right}, not {shown(value)}")
    if value in _NOT_DROPPED:
        raise wrong(f"{right}; no request is without {value}")
    return str(value)


def _parameter(value: Any) -> str:
    if not isinstance(value, str) or not _PARAMETER.fullmatch(value):
        raise wrong(f'must be the name of a parameter, such as "seed", not {shown(value)}')
    if value in _NOT_DROPPED:
        raise wrong(f"{value} can't be dropped: nothing is left of the request without it")
    return str(value)


def _parameters(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(f"must be a table of parameters, such as {{ temperature = 0 }}, not {shown(value)}")
    for name in value:
        if not _PARAMETER.fullmatch(name):
            raise wrong("has a name that can't be a parameter's; use letters, digits and _")
        if name in _NOT_DROPPED:
            raise wrong(f"{name} can't be set for a whole route: it is the caller's, or the target's")
    return {name: _json(value[name], name) for name in value}


def _json(value: Any, name: str) -> Any:
    """A TOML value as JSON can say it. The walk is bounded: substitution has refused deep nesting."""
    if isinstance(value, dict):
        return {key: _json(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item, name) for item in value]
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    if isinstance(value, (Decimal, float)) and abs(number := float(value)) < float("inf"):
        return number
    raise wrong(f"{name} holds {shown(value)}, which JSON can't say")


Name = str  # of a table: checked where duplicates by case are
Seconds = Annotated[
    float, PlainValidator(_number("a number of seconds", least=Decimal(0), most=Decimal(DAY_S), above=True))
]
SecondsOrOff = Annotated[
    float,
    PlainValidator(
        _number("a number of seconds (0 is off)", least=Decimal(0), most=Decimal(DAY_S), above=False)
    ),
]
TokensPerSecond = Annotated[
    float,
    PlainValidator(
        _number(
            "a number of tokens per second (0 is off)", least=Decimal(0), most=Decimal(10_000), above=False
        )
    ),
]
Delay = Annotated[
    float, PlainValidator(_number("a number of seconds", least=Decimal(0), most=Decimal(3600), above=False))
]
Multiplier = Annotated[
    float, PlainValidator(_number("a number", least=Decimal(1), most=Decimal(100), above=False))
]
Megabytes = Annotated[
    float, PlainValidator(_number("a number of megabytes", least=Decimal(0), most=Decimal(1024), above=True))
]
Port = Annotated[
    int, PlainValidator(_integer("a port (0 takes a free one), a whole number", least=0, most=65_535))
]
Retries = Annotated[int, PlainValidator(_integer("a whole number", least=0, most=100))]
Attempts = Annotated[int, PlainValidator(_integer("a whole number", least=1, most=100))]
Tokens = Annotated[int, PlainValidator(_integer("a whole number of tokens", least=1, most=10_000_000))]
Jitter = Annotated[Literal["full"] | float, PlainValidator(_jitter)]
Dollars = Annotated[Decimal, PlainValidator(dollars)]
Minutes = Annotated[
    float,
    PlainValidator(
        _number("a number of minutes", least=Decimal("0.1"), most=Decimal(31 * 24 * 60), above=False)
    ),
]
Hours = Annotated[
    float, PlainValidator(_number("a number of hours", least=Decimal(1), most=Decimal(31 * 24), above=False))
]
Unbounded = Annotated[Literal["refuse", "window"], PlainValidator(_one_of("refuse", "window"))]
SettleUnseen = Annotated[Literal["bound", "delivered"], PlainValidator(_one_of("bound", "delivered"))]
BudgetScope = Annotated[str, PlainValidator(label)]
"""Which there are is said where they are read, with the tag's name in them."""
BudgetWindow = Annotated[str, PlainValidator(_one_of(*WINDOWS))]
SessionSource = Annotated[str, PlainValidator(_one_of(*SOURCES))]
Switch = Annotated[bool, PlainValidator(_switch)]
Text = Annotated[str, PlainValidator(_text)]
SecretText = Annotated[Secret, PlainValidator(secret)]
Headers = Annotated[dict[str, Secret], PlainValidator(_headers)]
BaseUrl = Annotated[str, PlainValidator(base_url)]
Host = Annotated[str, PlainValidator(_host)]
LedgerUrl = Annotated[str, PlainValidator(_ledger_url)]
RedisUrl = Annotated[ServerUrl | None, PlainValidator(_redis_url)]
KeyPrefix = Annotated[str, PlainValidator(_prefix)]
Milliseconds = Annotated[
    float,
    PlainValidator(_number("a number of milliseconds", least=Decimal(1), most=Decimal(1000), above=False)),
]
Days = Annotated[int, PlainValidator(_integer("a whole number of days", least=1, most=36_500))]
Workers = Annotated[int, PlainValidator(_integer("a whole number", least=1, most=256))]
Sha256 = Annotated[bytes, PlainValidator(_sha256)]
Pattern = Annotated[str, PlainValidator(pattern)]
Label = Annotated[str, PlainValidator(label)]
Labels = Annotated[dict[str, str], PlainValidator(labels)]
FallbackOn = Annotated[int | str, PlainValidator(_fallback_on)]
Droppable = Annotated[str, PlainValidator(_droppable)]
Parameters = Annotated[dict[str, Any], PlainValidator(_parameters)]
OnBreakField = Annotated[
    Literal["error", "resume", "buffer"], PlainValidator(_one_of("error", "resume", "buffer"))
]
Durability = Annotated[Literal["process", "power"], PlainValidator(_one_of("process", "power"))]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], PlainValidator(_one_of("debug", "info", "warning", "error"))
]
UnknownPriceAction = Annotated[Literal["serve", "refuse"], PlainValidator(_one_of("serve", "refuse"))]
LogFormat = Annotated[Literal["auto", "json", "text"], PlainValidator(_one_of("auto", "json", "text"))]
Auth = Annotated[
    str, PlainValidator(_one_of("key", "none", "caller", "bearer", "x-api-key", "x-goog-api-key", "api-key"))
]
Weight = Annotated[
    float,
    PlainValidator(_number("a number", least=Decimal("0.000001"), most=Decimal(1_000_000), above=False)),
]
"""Never 0: who must not be asked is left out. Bounded below, so that no product of weights becomes 0 either."""
ProxyUrl = Annotated[Proxy | None, PlainValidator(_proxy)]
CaFile = Annotated[str | None, PlainValidator(_ca_file)]
ApiVersion = Annotated[str, PlainValidator(api_version)]
Unsupported = Annotated[str, PlainValidator(_unsupported)]
DeploymentName = Annotated[str, PlainValidator(_deployment_name)]
