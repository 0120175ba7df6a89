"""Logs: one JSON object a line, and a secret doesn't print, whoever logs it and however."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

CANARY = "sk-canary-0123456789"

SCRIPT = """
import logging, sys
import structlog
from holdfast.gateway.log import configure_logging
from holdfast.secret import Secret

configure_logging("info", sys.argv[1])
secret = Secret("sk-canary-0123456789")
log = structlog.get_logger("holdfast.test")
log.info("plain", key=secret, nested={"keys": [secret, (secret,)]}, said=f"{secret} {secret!r}")
log.debug("not shown")
logging.getLogger("some.library").warning("foreign %s", secret)
try:
    raise ValueError(secret)
except ValueError:
    log.exception("failed", key=secret)
    logging.getLogger("some.library").exception("foreign failed")
"""


def lines(style: str) -> str:
    """In a process of its own: logging is configured once for a whole process."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, style],
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_secret_never_prints(style):
    said = lines(style)
    assert CANARY not in said
    assert said.count("***") >= 5


def test_every_line_is_one_object_with_when_who_and_how_bad():
    events = [json.loads(line) for line in lines("json").splitlines()]
    assert [(event["event"], event["level"], event["logger"]) for event in events] == [
        ("plain", "info", "holdfast.test"),
        ("foreign ***", "warning", "some.library"),
        ("failed", "error", "holdfast.test"),
        ("foreign failed", "error", "some.library"),
    ]
    assert all(event["timestamp"].endswith("Z") for event in events)
    assert events[0]["key"] == "***"
    assert "ValueError" in events[2]["exception"]


def test_not_on_a_terminal_it_is_json():
    assert json.loads(lines("auto").splitlines()[0])["event"] == "plain"
