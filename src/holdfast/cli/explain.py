"""``holdfast explain``"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.environment import environment
from holdfast.cli.output import clean, complain, say, say_json, say_table

if TYPE_CHECKING:
    from holdfast.config import ExplainedTarget, Explanation

__all__ = ["explain"]


def explain(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The TOML file.")],
    *,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help='As a caller would ask: "chat".')
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what happens to a request for a model: which targets, in what order, with which limits.

    Targets of one number are equals: each request tries them in an order drawn by their shares. Each
    value comes with where it was set: a path in the file (and the environment's variables in it), or
    "built-in". Targets that are passed over come last, with the reason. Opens no connection.

    \b
    Examples:
      holdfast explain holdfast.toml --model chat
      holdfast explain holdfast.toml --model gpt-4o --json | jq '.targets[].target'

    Exit codes: 0 the model is served; 1 it isn't, or the file has errors.
    """
    from holdfast.config import explain as explain_model
    from holdfast.config import load

    explanation = explain_model(load(file, environment()), model)
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
    say_table(("limit of", "name", "value", "from"), [*_request_rows(explanation), *_target_rows(tried)])


def _request_rows(explanation: "Explanation") -> list[tuple[str, str, str, str]]:
    return [("the request", v.name, _shown(v.value), v.source) for v in explanation.policy]


def _target_rows(targets: "list[ExplainedTarget]") -> list[tuple[str, str, str, str]]:
    limits = {t.provider: t.limits for t in targets}  # the same for all of a provider's targets
    return [(name, v.name, _shown(v.value), v.source) for name, values in limits.items() for v in values]


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
