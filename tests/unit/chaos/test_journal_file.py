"""The journal's file: whole lines, whatever happens to the process or the disk."""

import json
import logging
import os
import signal
import subprocess
import sys

import pytest
from tests.unit.chaos.entries import entry

from holdfast.chaos import ChaosConfig
from holdfast.chaos.answer import Usage
from holdfast.chaos.journal import Journal, Texts
from holdfast.chaos.journal_file import JournalFile


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_attempts_are_appended_as_they_end(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(ChaosConfig(journal_file=str(path)))
    journal.open()
    first, second = (entry(journal.next_seq(), end=None) for _ in range(2))
    journal.add(first)
    journal.add(second)
    assert path.read_bytes() == b""
    journal.close(second, "client_left", Usage(), Texts(0), 1)
    assert [(row["seq"], row["end"]) for row in lines(path)] == [(2, "client_left")]
    journal.close(first, "complete", Usage(), Texts(0), 2)
    assert [row["seq"] for row in lines(path)] == [2, 1]
    assert journal.stats()["journal"]["file"] == {"path": str(path), "written": 2, "lost": 0, "error": None}
    assert path.stat().st_mode & 0o777 == 0o600, "it holds prompts"
    journal.close_file()
    journal.close_file()


def test_a_later_server_goes_on_after_half_a_line(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"seq":1}\n{"se')
    file = JournalFile(str(path))
    file.open()
    file.append(entry(7))
    file.append(entry(8))
    file.close()
    whole, torn, *new = path.read_bytes().splitlines()
    assert (whole, torn) == (b'{"seq":1}', b'{"se')
    assert [json.loads(line)["seq"] for line in new] == [7, 8]


def test_a_full_disk_is_told_once_and_counted(caplog):
    file = JournalFile("/dev/full")
    file.open()
    with caplog.at_level(logging.WARNING):
        for seq in range(3):
            file.append(entry(seq))
    file.close()
    assert [record.getMessage() for record in caplog.records] == [
        "attempts are no longer written to /dev/full: No space left on device"
    ]
    assert file.told() == {"path": "/dev/full", "written": 0, "lost": 3, "error": "No space left on device"}


def test_a_disk_that_has_room_again_goes_on_with_a_whole_line(tmp_path, caplog):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    file = JournalFile(str(pipe))
    file.open()
    with caplog.at_level(logging.WARNING):
        for seq in range(3):  # a pipe holds 64 KiB: the last line is cut off, or finds no room at all
            file.append(entry(seq, text="x" * 30_000))
        assert file.told()["lost"] == 1
        came = os.read(reader, 1 << 20)
        file.append(entry(9))
        came += os.read(reader, 1 << 20)
    os.close(reader)
    file.close()
    kept = []
    for line in came.splitlines():
        try:
            kept.append(json.loads(line)["seq"])
        except ValueError:
            kept.append("torn")
    assert [seq for seq in kept if seq != "torn"] == [0, 1, 9]
    assert kept.count("torn") <= 1
    assert "are written to" in caplog.records[-1].getMessage()
    assert file.told()["error"] is None


def test_a_file_that_cant_be_is_an_error_at_once(tmp_path):
    for path in (tmp_path, tmp_path / "none" / "j.jsonl"):
        with pytest.raises(OSError, match=str(path)):
            Journal(ChaosConfig(journal_file=str(path))).open()


def test_a_pipe_that_nobody_reads_doesnt_hold_the_start(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        JournalFile(str(tmp_path / "pipe")).open()


_DIES = """
import os, signal, sys
from tests.unit.chaos.entries import entry
from holdfast.chaos.journal_file import JournalFile
file = JournalFile(sys.argv[1])
file.open()
for seq in range(100):
    file.append(entry(seq))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9_loses_no_line(tmp_path, pytestconfig):
    path = tmp_path / "journal.jsonl"
    done = subprocess.run([sys.executable, "-c", _DIES, str(path)], cwd=pytestconfig.rootpath, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [row["seq"] for row in lines(path)] == list(range(100))
