"""``make tokens``: token counts made offline beside what providers billed for the same recorded requests and answers.

Nothing here depends on the machine: the same tree gives the same table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.billed import all_visible, answered, billed, counts_of
from holdfast.providers.tokens import count_request, count_text
from holdfast.providers.tokens.bounds import bound_input_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.billed import Billed

RESULTS = Path(__file__).resolve().parent / "results"
LEAST = 100
"""Billed tokens from which on an error in percent says something: one token of a ten-token prompt is ten percent."""


def at(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of them aren't above."""
    return sorted(values)[max(-(-int(share * 1_000) * len(values) // 1_000) - 1, 0)]


def percent(counted: int, tokens: int) -> float:
    return abs(counted - tokens) / tokens * 100


def requests() -> list[dict[str, Any]]:
    """A row for each provider and model; recorded requests that are the same, and billed the same, count once."""
    rows: dict[tuple[str, str], list[tuple[Billed, Any]]] = {}
    for each in {(each.model, each.body, each.tokens): each for each in billed()}.values():
        if each.request is not None:
            count = count_request(each.request, each.model, each.provider)
            rows.setdefault((each.provider, each.model), []).append((each, count))
    return [_row(provider, model, found) for (provider, model), found in sorted(rows.items())]


def _row(provider: str, model: str, found: list[tuple[Billed, Any]]) -> dict[str, Any]:
    seen = [(each, count) for each, count in found if not count.unseen and all_visible(each)]
    errors = [percent(count.tokens, each.tokens) for each, count in seen]
    return {
        "provider": provider,
        "model": model,
        "kind": found[0][1].kind,
        "requests": len(found),
        "visible": len(seen),
        "error_p50": round(at(errors, 0.5), 1) if errors else None,
        "error_p95": round(at(errors, 0.95), 1) if errors else None,
        "passed": sum(each.tokens > count.upper for each, count in seen),
    }


def families() -> list[dict[str, Any]]:
    """A row for each provider: each half of its recordings, and its answers."""
    rows = []
    bills = {(each.model, each.body, each.tokens): each for each in billed() if all_visible(each)}.values()
    for provider in sorted({each.provider for each in bills}):
        row: dict[str, Any] = {"provider": provider}
        for half, second in (("first", False), ("second", True)):
            row[half] = _spread(
                _errors(each for each in bills if (each.provider, each.second) == (provider, second))
            )
        texts = [each for each in answered() if each.provider == provider and each.tokens >= LEAST]
        row["answers"] = _spread(
            [percent(count_text(each.text, each.model, provider).tokens, each.tokens) for each in texts]
        )
        rows.append(row)
    return rows


def _errors(bills: Iterable[Billed]) -> list[float]:
    found = []
    for each in bills:
        if each.request is not None and each.tokens >= LEAST:
            count = count_request(each.request, each.model, each.provider)
            if not count.unseen:
                found.append(percent(count.tokens, each.tokens))
    return found


def _spread(errors: list[float]) -> dict[str, Any]:
    known = {"p50": round(at(errors, 0.5), 1), "p95": round(at(errors, 0.95), 1)} if errors else {}
    return {"number": len(errors), **known, "within_5": sum(error <= 5 for error in errors)}


def sizes() -> list[dict[str, Any]]:
    """A row for each provider: the bound that is made of a body's size alone."""
    rows: dict[str, list[tuple[int, int]]] = {}
    for each in billed():
        if all_visible(each) and not _unseen(each):
            tools, messages = counts_of(each.body)
            bound = bound_input_tokens(
                len(each.body), each.provider, each.model, tools=tools, messages=messages
            )
            rows.setdefault(each.provider, []).append((bound, each.tokens))
    return [
        {
            "provider": provider,
            "requests": len(found),
            "passed": sum(bound < tokens for bound, tokens in found),
            "nearest": round(min(bound / tokens for bound, tokens in found), 1),
            "p50": round(at([bound / tokens for bound, tokens in found], 0.5), 1),
        }
        for provider, found in sorted(rows.items())
    ]


def _unseen(each: Billed) -> bool:
    return each.request is not None and count_request(each.request, each.model, each.provider).unseen


def measured() -> dict[str, Any]:
    return {"families": families(), "sizes": sizes(), "requests": requests()}


HALVES = {"first": "first half", "second": "second half", "answers": "text alone"}


def page(found: dict[str, Any]) -> str:
    return (
        "\n\n".join(("# Token counts against bills", summary(found), by_model(found), by_size(found))) + "\n"
    )


def summary(found: dict[str, Any]) -> str:
    """Errors by provider, of bills of 100 tokens and more."""
    rows = [
        (row["provider"], *(_said(row[half]) for half in HALVES))
        for row in found["families"]
        if any(row[half]["number"] for half in HALVES)
    ]
    return table(("provider", *(f"{said}: n, within 5 %, p50, p95" for said in HALVES.values())), rows)


def _said(spread: dict[str, Any]) -> str:
    if not spread["number"]:
        return "–"
    return f"{spread['number']}, {spread['within_5']}, {spread['p50']} %, {spread['p95']} %"


def by_model(found: dict[str, Any]) -> str:
    """Errors and bounds by provider and model, of bills of any size."""
    rows = [
        (
            row["provider"],
            f"`{row['model']}`",
            row["kind"],
            str(row["visible"]),
            *("–" if row[name] is None else f"{row[name]} %" for name in ("error_p50", "error_p95")),
            str(row["passed"]) if row["visible"] else "–",
            str(row["requests"] - row["visible"]),
        )
        for row in found["requests"]
    ]
    head = (
        "provider",
        "model",
        "kind",
        "requests",
        "error p50",
        "error p95",
        "bound passed",
        "with unseen input",
    )
    return table(head, rows)


def by_size(found: dict[str, Any]) -> str:
    """The bound made of sizes alone, against the bill."""
    rows = [
        (row["provider"], str(row["requests"]), str(row["passed"]), f"{row['nearest']} ×", f"{row['p50']} ×")
        for row in found["sizes"]
    ]
    return table(("provider", "requests", "bound passed", "nearest to the bill", "p50"), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def main() -> None:
    found = measured()
    (RESULTS / "tokens.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "tokens.md").write_text(page(found), encoding="utf-8")
    sys.stdout.write(page(found))


if __name__ == "__main__":
    main()
