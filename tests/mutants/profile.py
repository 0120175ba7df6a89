"""A pytest plugin: how Hypothesis searches on behalf of the mutants.

That a test fails is all that is asked: the example isn't shrunk, which may take minutes, nor kept for the tests' own runs.
The search is the same each time, so a mutant that was killed once is killed again.
"""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile(
    "mutants",
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)
