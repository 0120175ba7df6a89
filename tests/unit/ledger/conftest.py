"""A ledger on each database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.ledger.bases import KINDS, Base, base_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=KINDS)
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Base]:
    with base_of(request, tmp_path) as made:
        yield made
