"""Hypothesis profiles, the seed that reproduces a run, and the PostgreSQL that tests share."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresServer

pytest.register_assert_rewrite("tests.support")  # a failed assertion in a helper shows its values too

settings.register_profile("quick", max_examples=50, deadline=None, print_blob=True)
settings.register_profile("thorough", max_examples=500, deadline=None, print_blob=True)
_PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE", "quick")
settings.load_profile(_PROFILE)


def pytest_report_header(config: pytest.Config) -> str:
    seed = config.getoption("--hypothesis-seed", None)
    return (
        f"hypothesis: profile {_PROFILE}, seed {seed if seed is not None else 'per test, printed on failure'}"
    )


def pytest_collection_finish() -> None:
    """Tens of thousands of tests live to the end: no collection of garbage needs to walk through them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The PostgreSQL that this process' tests share, started for the first that asks. A test that stops or freezes it starts
    it again; ``postgres.database()`` is an empty database."""
    from tests.support.postgres import PostgresServer  # needs psycopg, and only few tests do

    # What a process' death takes is in the kernel's hands; only a power cut's loss is not, and no test has one.
    with PostgresServer({"fsync": "off"}) as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of this test's own."""
    url = postgres.database()
    yield url
    postgres.give_back(url)
