"""The settings of ``holdfast chaos``: from the command line over a file over a preset, and where each came from."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from holdfast.cli.output import complain

if TYPE_CHECKING:
    from holdfast.chaos import ChaosConfig

__all__ = [
    "Config",
    "Preset",
    "Rate",
    "ScriptOf",
    "Seed",
    "Setting",
    "Settings",
    "collect",
]

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="TOML file: its [chaos] table, or the whole file."),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset", "-p", metavar="NAME", help="Settings to begin with: see 'holdfast chaos presets'."
    ),
]
ScriptOf = Annotated[
    list[str] | None,
    typer.Option(
        "--script", "-s", metavar="MODEL=SCRIPT", help="What a model (or pattern) does. Repeatable."
    ),
]
Rate = Annotated[
    list[str] | None,
    typer.Option(
        "--rate", "-r", metavar="STEP=PERCENT", help='Share of attempts: "429 retry-after=1=5". Repeatable.'
    ),
]
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting, such as pace.ttft=0.5 or limits.requests_per_minute=60.",
    ),
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Of every draw; the same seed, the same bytes.")]


class Settings(NamedTuple):
    """A configuration and where it came from."""

    config: "ChaosConfig"
    layers: list[tuple[str, dict[str, Any]]]
    """Where, and what was said there; the later goes over the earlier."""

    def origin(self, *path: str) -> str:
        """Where a setting was said last; "default" where nobody did."""
        return next((name for name, values in reversed(self.layers) if _has(values, path)), "default")


def collect(
    config: Path | None,
    preset: str | None,
    script: list[str] | None,
    rate: list[str] | None,
    setting: list[str] | None,
    **given: Any,
) -> Settings:
    """What options and file say, checked. Complains and exits with 1 where something can't be meant."""
    from holdfast.chaos import ChaosConfig, ChaosError, merge, presets

    line: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if script:
        line["scripts"] = _pairs(script, "--script", "MODEL=SCRIPT, such as flaky=503")
    if rate:
        line["rates"] = {step: _percent(step, pct) for step, pct in _last_pairs(rate).items()}
    if preset is not None:
        line["preset"] = preset
    try:
        for text in setting or ():
            line = merge(line, _setting(text))
        table = ChaosConfig.table(config) if config is not None else {}
        named = line.get("preset", table.get("preset"))
        begin = presets.load(named) if named is not None else {}
        layers = [(f"preset {named}", begin), (f"file {config}", table), ("command line", line)]
        try:
            return Settings(ChaosConfig.from_dict(merge(merge(begin, table), line)), layers)
        except ChaosError as error:
            raise ChaosError(
                f"{config}: {error}" if config is not None and not line else str(error)
            ) from None
    except ChaosError as error:
        complain(str(error))
        raise typer.Exit(1) from None


def _pairs(texts: list[str], option: str, shape: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{text!r} is not {shape}", param_hint=option)
        pairs[name] = value
    return pairs


def _last_pairs(texts: list[str]) -> dict[str, str]:
    """A step may hold ``=`` itself: the share stands after the last one."""
    pairs: dict[str, str] = {}
    for text in texts:
        step, equals, pct = text.rpartition("=")
        if not step or not equals:
            raise typer.BadParameter(f"{text!r} is not STEP=PERCENT, such as 429=5", param_hint="--rate")
        pairs[step] = pct
    return pairs


def _percent(step: str, text: str) -> float:
    try:
        return float(text.removesuffix("%"))
    except ValueError:
        raise typer.BadParameter(
            f"the share of {step!r} is {text!r}, no number", param_hint="--rate"
        ) from None


def _setting(text: str) -> dict[str, Any]:
    """``pace.ttft=0.5`` as TOML reads it; a value that isn't TOML is text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE, such as pace.ttft=0.5", param_hint="--set")
    try:
        return tomllib.loads(f"{name} = {value}")
    except tomllib.TOMLDecodeError:
        pass
    try:
        return tomllib.loads(f"{name} = {_quoted(value)}")
    except tomllib.TOMLDecodeError:
        raise typer.BadParameter(f"{name!r} is no setting's name", param_hint="--set") from None


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _has(values: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True
