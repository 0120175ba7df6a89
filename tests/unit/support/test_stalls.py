"""What the meter of standstills counts, and what it doesn't."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from tests.support.stalls import Stalls

FOR_S = 0.3
STANDS = """
import os, sys, time
from tests.support.stalls import Stalls
with Stalls() as stalls:
    began = time.monotonic()
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    print(stalls.since(began), flush=True)
"""


def test_who_waits_or_computes_does_not_stand_still() -> None:
    with Stalls() as stalls:
        began = time.monotonic()
        threading.Event().wait(FOR_S)
        until = time.thread_time() + FOR_S
        while time.thread_time() < until:
            pass
        stood_s = stalls.since(began)
        passed_s = time.monotonic() - began
    assert stood_s < passed_s - 2 * FOR_S + 0.1, "the machine itself may have stood still meanwhile"


def test_who_is_stopped_does() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STANDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)
        threading.Event().wait(FOR_S)
        os.kill(pid, signal.SIGCONT)
        process.stdin.write("\n")
        process.stdin.flush()
        assert float(process.stdout.readline()) > FOR_S - 0.1
