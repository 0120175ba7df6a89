"""The examples for people's own tests pass, as a project would run them."""

import subprocess
import sys

from tests.docs.pages import ROOT

EXAMPLES = sorted((ROOT / "examples" / "test_your_app").glob("test_*.py"))


def test_the_examples_of_your_own_app_pass(tmp_path):
    assert len(EXAMPLES) == 3
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", *EXAMPLES],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
