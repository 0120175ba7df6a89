"""``holdfast explain``"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.environment import environment
from holdfast.cli.output import clean, complain, say, say_json, say_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.config import ExplainedTarget, Explanation
    from holdfast.config.explain import Value

__all__ = ["explain"]


def explain(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The TOML file.")],
    *,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="MODEL", help='As a caller would ask: "chat".')
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            "-k",
            metavar="NAME",
            help="What this caller's key may do; with --model, what becomes of that.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what happens to a request for a model: which targets, in what order, with which limits. Or what a key may do.

    Targets of one number are equals: each request tries them in an order drawn by their shares. Each
    value comes with where it was set: a path in the file (and the environment's variables in it), or
    "built-in". Targets that are passed over come last, with the reason. Opens no connection, but for
    keys that are in the ledger, which is read.

    \b
    Examples:
      holdfast explain holdfast.toml --model chat
      holdfast explain holdfast.toml --model gpt-4o --json | jq '.targets[].target'
      holdfast explain holdfast.toml --key alice
      holdfast explain holdfast.toml --key alice --model chat

    Exit codes: 0 the model is served, the key is good; 1 it isn't, or the file has errors; 2 called wrongly.
    """
    from holdfast.config import explain as explain_model
    from holdfast.config import load

    if model is None and key is None:
        raise typer.BadParameter("say which model, or which --key", param_hint="--model")
    config = load(file, environment())
    if key is not None:
        from holdfast.cli.explain_key import permitted, show_key, the_key

        whose = the_key(config, key)
        if model is None:
            raise typer.Exit(show_key(whose, as_json=as_json))
        config = permitted(whose, model)
    explanation = explain_model(config, model or "")
    if as_json:
        say_json(explanation.to_dict())
    elif explanation.error is None:
        _show(explanation)
    else:
        complain(explanation.error)
    raise typer.Exit(0 if explanation.error is None else 1)


def _show(explanation: "Explanation") -> None:
    say(f"{clean(explanation.model)}: {explanation.because}")
    tried = [target for target in explanation.targets if target.skipped is None]
    skipped = [target for target in explanation.targets if target.skipped is not None]
    say()
    columns = [
        ("", [str(t.place) for t in tried]),
        ("target", [t.target for t in tried]),
        ("share", [f"{t.share:.0%}" if t.share != 1 else "" for t in tried]),
        ("dialect", [t.dialect for t in tried]),
        ("address", [t.base_url for t in tried]),
        ("proxy", [t.proxy or "" for t in tried]),
        ("CA file", [t.ca_file or "" for t in tried]),
        ("key", [t.key for t in tried]),
        ("set", [", ".join(t.set) for t in tried]),
    ]
    told = [column for column in columns if any(column[1])]  # nobody needs a column of nothing
    say_table([name for name, _ in told], list(zip(*(cells for _, cells in told), strict=True)))
    if skipped:
        say()
        say_table(("skipped", "because"), [(t.target, t.skipped or "") for t in skipped])
    say()
    rows = [*_protection_rows(explanation), *_request_rows(explanation), *_target_rows(tried)]
    say_table(("limit of", "name", "value", "from"), rows)


def _protection_rows(explanation: "Explanation") -> list[tuple[str, str, str, str]]:
    """What holds for everybody's money; where it is off, nothing but that it is."""
    values = explanation.protection
    shown = values if values[0].value else values[:1]
    return [("cost protection", v.name, _shown(v.value), v.source) for v in shown]


def _request_rows(explanation: "Explanation") -> list[tuple[str, str, str, str]]:
    return [("the request", v.name, _shown(v.value), v.source) for v in explanation.policy]


def _target_rows(targets: "list[ExplainedTarget]") -> list[tuple[str, str, str, str]]:
    """What holds for all providers stands there once; of a policy that is off, nothing but that it is."""
    by_provider = {t.provider: _told(t.limits) for t in targets}  # the same for all of a provider's targets
    names = dict.fromkeys(name for values in by_provider.values() for name in values)
    rows: list[tuple[str, str, str, str]] = []
    for name in names:
        found = {provider: values[name] for provider, values in by_provider.items() if name in values}
        if len(found) == len(by_provider) > 1 and len(set(found.values())) == 1:
            rows.append(("each target", name, *next(iter(found.values()))))
        else:
            rows += [(provider, name, *said) for provider, said in found.items()]
    return rows


def _told(limits: "Sequence[Value]") -> dict[str, tuple[str, str]]:
    """Value and source of each limit that says something, by name."""
    known = {limit.name: limit.value for limit in limits}
    off = {name.partition(".")[0] for name, value in known.items() if name.endswith(".enabled") and not value}
    if known.get("rate.requests") is None and known.get("rate.tokens") is None:
        off.add("rate")
    told: dict[str, tuple[str, str]] = {}
    for limit in limits:
        table = limit.name.partition(".")[0]
        if table not in off:
            told[limit.name] = (_shown(limit.value), limit.source)
        elif limit.name.endswith(".enabled") or (table == "rate" and table not in told):
            told[table] = ("off", limit.source)
    return told


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
