"""What it costs to import, and what is said where the extra isn't installed."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import textwrap

from tests.e2e.cli_process import environment

HEAVY = ["asyncio", "genai_prices", "httptools", "msgspec", "pydantic", "sqlite3", "ssl", "typer", "uvicorn"]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_importing_the_library_takes_under_300_ms_and_opens_no_connection() -> None:
    code = """
        import sys, time
        connected = []
        sys.addaudithook(lambda event, args: connected.append(event) if event.startswith("socket.") else None)
        began = time.perf_counter()
        import holdfast
        took = time.perf_counter() - began
        import json
        print(json.dumps({"took": took, "connected": connected, "modules": sorted(sys.modules)}))
    """
    runs = [json.loads(python(code).stdout) for _ in range(5)]
    assert statistics.median(run["took"] for run in runs) < 0.3
    assert [run["connected"] for run in runs] == [[]] * 5
    assert set(HEAVY).isdisjoint(runs[0]["modules"])


def test_without_the_extra_one_line_says_what_to_install() -> None:
    done = python("""
        import sys
        sys.modules["typer"] = None
        from holdfast.cli import main
        main()
    """)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'holdfast: typer not installed: pip install "holdfast[gateway]"\n'


def test_chaos_needs_an_extra_of_its_own_and_no_other() -> None:
    hidden = "import sys; sys.modules.update(prometheus_client=None, structlog=None, uvicorn=None{more})"
    run = "from holdfast.cli import main; sys.argv = ['holdfast', 'chaos', 'presets']; main()"
    done = python(f"{hidden.format(more='')}; {run}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "stress_aimd" in done.stdout
    done = python(f"{hidden.format(more=', jinja2=None')}; {run}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'holdfast: jinja2 not installed: pip install "holdfast[chaos]"\n'
