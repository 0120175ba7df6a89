"""The PostgreSQL of the tests: what it promises to those that use it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.support.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer({"fsync": "off"}) as server:
        yield server


def test_a_database_is_given_back_empty(server: PostgresServer) -> None:
    url = server.database()
    kept = psycopg.connect(url, autocommit=True)
    kept.execute("CREATE TABLE a (b INTEGER)")
    server.give_back(url)
    with pytest.raises(psycopg.OperationalError):
        kept.execute("SELECT 1")
    kept.close()
    again = server.database()
    assert again == url
    assert server.run(again, "SELECT 1 FROM pg_tables WHERE tablename = 'a'") == []
    assert server.database() != again


def test_what_was_committed_survives_a_kill(server: PostgresServer) -> None:
    url, port = server.database(), server.port
    server.run(url, "CREATE TABLE a AS SELECT 7 AS b")
    with psycopg.connect(url) as cut:
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            cut.execute("SELECT 1")
    assert not server.running
    server.start()
    assert server.port == port
    assert server.run(url, "SELECT b FROM a") == [(7,)]


def test_a_frozen_server_keeps_its_connections_and_answers_nobody(server: PostgresServer) -> None:
    url = server.database()
    with psycopg.connect(url, autocommit=True) as connection:
        with server.frozen(), pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(url, connect_timeout=1)
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_a_password_is_needed(server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url(password="wrong"))


_STARTS_ONE = """
import os, signal
from tests.support.postgres import PostgresServer
server = PostgresServer({"fsync": "off"})
server.start()
print(server.pid, server.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_dies_with_the_process_that_started_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STARTS_ONE], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        with contextlib.suppress(ProcessLookupError):  # it is over already
            end = os.pidfd_open(int(pid))
            try:
                assert select.select([end], [], [], 30)[0], "it lives on"
            finally:
                os.close(end)
    subprocess.run(["rm", "-r", folder], check=True)
