"""The public types as pyright sees them: nothing is wrong in what is right, and what is wrong is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

WRONG = """
from holdfast import Client, SyncClient


async def wrong(client: Client, twin: SyncClient) -> None:
    await client.chat(7)  # wrong
    await client.chat("hi", temprature=1)  # wrong
    await client.chat("hi", max_tokens="7")  # wrong
    await client.stream("hi")  # wrong
    for _ in client.stream("hi"):  # wrong
        pass
    await twin.chat("hi")  # wrong
    client.fallback_chain = ()  # wrong
    answer = await client.chat("hi")
    answer.text = ""  # wrong
    answer.model + 1  # wrong
"""


def test_types_are_right_and_wrong_uses_are_refused(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG)
    settings = {
        "include": [str(ROOT / "tests" / "typing"), str(wrong)],
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [
            Path(sys.executable).with_name("basedpyright"),
            "--project",
            tmp_path,
            "--pythonpath",
            sys.executable,
            "--outputjson",
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] >= 3
    found = [
        (Path(each["file"]).name, each["range"]["start"]["line"]) for each in report["generalDiagnostics"]
    ]
    expected = {("wrong.py", at) for at, line in enumerate(WRONG.splitlines()) if line.endswith("# wrong")}
    assert set(found) == expected, report["generalDiagnostics"]
