"""What ``holdfast targets`` says of a breaker that several processes share."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from holdfast.cli.targets_view import Targets, render


def told(**breaker) -> str:
    target = {
        "target": "a/m",
        "route": "",
        "breaker": {
            "state": "closed",
            "calls": 0,
            "failures": 0,
            "probes": 0,
            "retry_after_s": 0.0,
            **breaker,
        },
        "bulkhead": None,
        "adaptive": None,
        "rate": None,
        "provider_limits": [],
        "blocked_s": 0.0,
        "budget": {"left": 3, "refused": 0},
        "refused": {},
    }
    targets = {"targets": [target], "overall": None, "idempotency": {"running": 0}}
    out = io.StringIO()
    console = Console(file=out, width=200)
    console.print(render(msgspec.convert(targets, Targets)))
    return out.getvalue()


def shared(*, here: bool = False, probes: int = 0, alone: bool = False) -> dict[str, object]:
    return {"epoch": 1, "here": here, "probes": probes, "alone": alone}


@pytest.mark.parametrize(
    ("breaker", "said"),
    [
        (
            {"state": "open", "retry_after_s": 30.0, "shared": shared()},
            "open, 30.0 s, opened by another process",
        ),
        ({"state": "open", "retry_after_s": 30.0, "shared": shared(here=True)}, "open, 30.0 s  "),
        (
            {"state": "open", "retry_after_s": 30.0, "shared": shared(alone=True)},
            "open, 30.0 s, not shared now",
        ),
        (
            {"state": "half_open", "probes": 1, "shared": shared(here=True, probes=3)},
            "half-open, 1 of 3 out  ",
        ),
        ({"state": "half_open", "probes": 2}, "half-open, 2 out  "),
        ({"shared": shared(probes=3, alone=True)}, "closed  "),
    ],
)
def test_who_opened_it_and_whose_probes_are_out(breaker, said):
    assert said in told(**breaker)
