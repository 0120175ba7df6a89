"""One world in a process of its own: a child can't import what stands in a package's ``__main__``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.draw import draw
from tests.simulation.run import run

if TYPE_CHECKING:
    from tests.simulation.run import Report

    from holdfast.engine.engine import Engine

__all__ = ["live"]


def live(seed: int, load: float, make_engine: type[Engine]) -> Report:
    """The world of ``seed``, lived through."""
    return run(draw(seed, load=load), make_engine=make_engine)
