"""The synchronous twin, over real sockets: from threads, inside a running loop, in a notebook's cells, interrupted."""

from __future__ import annotations

import ast
import asyncio
import code
import inspect
import signal
import subprocess
import sys
import textwrap
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tools.make_sync import TARGET, main, sync_module

import holdfast
from holdfast import ChatStream, Client, SyncChatStream, SyncClient
from holdfast.chaos import ChaosConfig, run_chaos
from holdfast.errors import Abandoned, HoldfastError, TargetsFailed, UnknownModel
from holdfast.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.chaos import Chaos


@pytest.fixture(scope="module")
def chaos():
    config = ChaosConfig.from_dict({"default": {"tokens": 20}})
    with run_chaos(config) as running:
        running.script("hang*", "hang; hang; hang")
        running.script("cut*", [{"tokens": 20, "cut": {"how": "reset", "after": 8}}] * 3)
        running.script("slow*", [{"tokens": 100, "tps": 20}] * 9)
        yield running


def document(chaos: Chaos) -> dict:
    return {
        "providers": {"one": {"dialect": "openai_chat", "base_url": chaos.base_url, "auth": "none"}},
        "retry": {"max_retries": 0},
    }


def states(path: Path) -> list[str]:
    with LedgerReader(path) as reader:
        return [record.state for record in reader.requests(limit=None)]


def test_the_twin_is_written_from_the_original():
    assert TARGET.read_text() == sync_module()
    assert main(["--check"]) == 0


def test_a_stale_twin_is_noticed():
    text = TARGET.read_text()
    try:
        TARGET.write_text(text + "# more\n")
        assert main(["--check"]) == 1
    finally:
        TARGET.write_text(text)


@pytest.mark.parametrize(("ours", "theirs"), [(Client, SyncClient), (ChatStream, SyncChatStream)])
def test_the_twins_have_the_same_methods(ours, theirs):
    def public(kind: type) -> dict[str, inspect.Signature | None]:
        return {
            name.replace("aclose", "close"): inspect.signature(value) if callable(value) else None
            for name, value in vars(kind).items()
            if not name.startswith("_")
        }

    def arguments(signature: inspect.Signature | None) -> object:
        return signature and [
            (each.name, each.kind, each.default, each.annotation) for each in signature.parameters.values()
        ]

    mine, others = public(ours), public(theirs)
    assert list(mine) == list(others)
    for name in mine:
        assert arguments(mine[name]) == arguments(others[name]), name
    assert arguments(inspect.signature(Client)) == arguments(inspect.signature(SyncClient))


def test_chat_stream_and_failures(chaos, tmp_path):
    with SyncClient(document(chaos), ledger=tmp_path / "calls.db") as client:
        answer = client.chat("hi", "one/ok")
        assert answer.text
        assert answer.provider == client.provider_for("one/ok") == "one"
        chunks = list(client.stream("hi", "one/ok"))
        assert [each.index for each in chunks] == list(range(21))
        assert [each.finish_reason for each in chunks] == [None] * 20 + ["stop"]
        with client.stream("hi", "one/ok") as answering:
            next(answering)
            assert answering.answer().text.count(" ") == 20
        assert list(answering) == []
        with pytest.raises(UnknownModel):
            client.chat("hi", "nope")
        with pytest.raises(HoldfastError) as caught:
            list(client.stream("hi", "one/cut"))
        assert caught.value.label == "connection_lost"
    assert sorted(states(tmp_path / "calls.db")) == ["failed", "ok", "ok", "ok"]


def test_many_threads_share_a_client(chaos):
    with SyncClient(document(chaos)) as client, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: client.chat(f"{n}", "one/ok"), range(40)))
        streams = list(threads.map(lambda n: list(client.stream(f"{n}", "one/ok")), range(16)))
    assert len({answer.request_id for answer in answers}) == 40
    assert {len(chunks) for chunks in streams} == {21}


def test_inside_a_running_loop(chaos):
    async def main() -> str:
        with SyncClient(document(chaos)) as client:
            return client.chat("hi", "one/ok").text + "".join(
                each.text for each in client.stream("hi", "one/ok")
            )

    assert asyncio.run(main())


def test_in_a_notebooks_cells(chaos):
    """Cells run one by one on a loop that goes on running, as IPython runs them."""
    cells = [
        "from holdfast import Client, SyncClient",
        "client = Client(document)",
        'first = (await client.chat("hi", "one/ok")).text',
        'second = [chunk.text async for chunk in client.stream("hi", "one/ok")]',
        'sync = SyncClient(document)\nthird = sync.chat("hi", "one/ok").text',
        "sync.close()\nawait client.aclose()",
    ]
    names: dict = {"document": document(chaos)}
    console = code.InteractiveInterpreter(names)
    console.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    async def notebook() -> None:
        for cell in cells:
            compiled = console.compile(cell, "<cell>", "exec")
            assert compiled is not None
            ran = types.FunctionType(compiled, names)()
            if inspect.iscoroutine(ran):
                await ran

    asyncio.run(notebook())
    assert names["first"]
    assert names["third"]
    assert len(names["second"]) == 21


def test_leaving_the_loop_ends_the_call(chaos, tmp_path):
    with SyncClient(document(chaos), ledger=tmp_path / "calls.db") as client:
        for _ in client.stream("hi", "one/slow"):
            break
        chaos.wait_for(lambda entries: any(entry.model == "slow" and entry.end for entry in entries))
    assert states(tmp_path / "calls.db") == ["cancelled"]


def test_closing_from_another_thread_ends_what_waits(chaos, tmp_path):
    client = SyncClient(document(chaos), ledger=tmp_path / "calls.db")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.chat, "hi", "one/hang-close")
        chaos.wait_for(lambda entries: any(entry.model == "hang-close" for entry in entries))
        client.close()
        with pytest.raises(Abandoned, match="client was closed"):
            waiting.result(5)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.chat("hi", "one/ok")
    assert "holdfast-client" not in {thread.name for thread in threading.enumerate()}
    assert states(tmp_path / "calls.db") == ["cancelled"]


def test_what_can_not_be_opened_raises_and_is_tried_again(chaos, tmp_path):
    folder = tmp_path / "later"
    client = SyncClient(document(chaos), ledger=folder / "calls.db")
    with pytest.raises(HoldfastError, match="doesn't exist"):
        client.chat("hi", "one/ok")
    folder.mkdir()
    assert client.chat("hi", "one/ok").text
    client.close()


def test_all_failed_is_one_error(chaos):
    chaos.script("503", "503; 503")
    with SyncClient(document(chaos)) as client, pytest.raises(TargetsFailed):
        client.chat("hi", "one/503")


def test_a_client_that_is_forgotten_warns_and_ends_its_thread(chaos):
    client = SyncClient(document(chaos))
    client.chat("hi", "one/ok")
    (thread,) = [each for each in threading.enumerate() if each.name == "holdfast-client"]
    with pytest.warns(ResourceWarning, match="unclosed SyncClient"):
        del client
    thread.join(10)
    assert not thread.is_alive()


def run_script(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


OPEN = """
import sys, os, signal
from holdfast import SyncClient
url, path = sys.argv[1:]
document = {"providers": {"one": {"dialect": "openai_chat", "base_url": url, "auth": "none"}}}
client = SyncClient(document, ledger=path)
"""


@pytest.mark.parametrize("how", ["chat", "stream"])
def test_ctrl_c_settles_the_call_before_it_raises(chaos, tmp_path, how):
    path = tmp_path / "calls.db"
    ask = {
        "chat": 'client.chat("hi", "one/hang-interrupted-chat")',
        "stream": '[None for _ in client.stream("hi", "one/slow-interrupted-stream")]',
    }[how]
    script = f"""
try:
    print("asking", flush=True)
    {ask}
except KeyboardInterrupt:
    print("still running:", len(client._inner._running))
    print("interrupted", client.chat("hi", "one/ok").finish_reason)
client.close()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN + script, chaos.base_url, path], stdout=subprocess.PIPE, text=True
    )
    with process:
        chaos.wait_for(lambda entries: any(f"interrupted-{how}" in entry.model for entry in entries), 20)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    assert said.splitlines() == ["asking", "still running: 0", "interrupted stop"]
    assert sorted(states(path)) == ["cancelled", "ok"]


def test_a_program_that_ends_without_closing_loses_nothing(chaos, tmp_path):
    path = tmp_path / "calls.db"
    done = run_script(OPEN + 'client.chat("hi", "one/ok")\n', chaos.base_url, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert states(path) == ["ok"]


def test_a_fork_is_told_to_make_its_own(chaos, tmp_path):
    done = run_script(
        OPEN
        + textwrap.dedent("""
        client.chat("hi", "one/ok")
        child = os.fork()
        if child == 0:
            try:
                client.chat("hi", "one/ok")
            except RuntimeError as error:
                print(error, flush=True)
            client.close()
            os._exit(0)
        os.waitpid(child, 0)
        client.close()
        """),
        chaos.base_url,
        tmp_path / "calls.db",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "made before a fork" in done.stdout


def test_importing_stays_quick():
    """The package alone imports next to nothing, and the library nothing that only a server or a terminal needs."""
    done = run_script("""
        import sys
        import holdfast
        print([name for name in sys.modules if name.startswith("holdfast")])
        from holdfast import Client, SyncClient
        print(sorted({name.partition(".")[0] for name in sys.modules} & {
            "rich", "typer", "uvicorn", "structlog", "prometheus_client", "uvloop", "genai_prices", "sqlite3"}))
    """)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["['holdfast']", "[]"]


def test_what_is_exported_and_what_is_not():
    assert set(holdfast.__all__) <= set(dir(holdfast))
    with pytest.raises(AttributeError, match="nonsense"):
        holdfast.nonsense  # noqa: B018  # the look itself is what is tested
