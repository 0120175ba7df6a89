"""Hypothesis profiles and the seed that reproduces a run."""

import os

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.support")  # a failed assertion in a helper shows its values too

settings.register_profile("local", max_examples=200, deadline=None, print_blob=True)
settings.register_profile("ci", max_examples=50, deadline=None, print_blob=True)


def _profile() -> str:
    chosen = os.environ.get("HYPOTHESIS_PROFILE")
    if chosen:
        return chosen
    return "ci" if os.environ.get("CI", "").lower() in ("1", "true") else "local"


settings.load_profile(_profile())


def pytest_report_header(config: pytest.Config) -> str:
    seed = config.getoption("--hypothesis-seed", None)
    return f"hypothesis: profile {_profile()}, seed {seed if seed is not None else 'per test, printed on failure'}"
