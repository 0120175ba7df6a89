"""A door that is shut: refused is an RST to each SYN, silent is no answer to it; and it opens again by itself."""

import asyncio
import contextlib
import errno
import os
import resource
import select
import socket
import sys
import threading

import pytest
import uvloop
from tests.unit.chaos.raw import payload

from holdfast.chaos import ChaosConfig, ChaosServer
from holdfast.chaos.clock import HandClock
from holdfast.chaos.door import Door
from holdfast.chaos.plan import Shut

linux = pytest.mark.skipif(sys.platform != "linux", reason="silence is Linux's full accept queue")
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
_SYN_SENT = 2  # the first byte of TCP_INFO


@pytest.fixture(params=sorted(LOOPS))
def run(request):
    def run(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(asyncio.wait_for(main, 30))

    return run


def begin(port):
    """A connect under way, and what it has come to by now: on loopback, SYN and its answer are one call."""
    sock = socket.socket()
    sock.settimeout(0)
    return sock, sock.connect_ex(("127.0.0.1", port))


def outcome(port):
    """open, refused, or silent: the SYN was sent and nothing came."""
    sock, code = begin(port)
    with sock:
        if code == errno.EINPROGRESS:
            if _state(sock) == _SYN_SENT and not select.select([], [sock], [], 0.02)[1]:
                return "silent"
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return {0: "open", errno.ECONNREFUSED: "refused"}.get(code, errno.errorcode.get(code))


def _state(sock):
    return (
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] if sys.platform == "linux" else _SYN_SENT
    )


@contextlib.asynccontextmanager
async def serving(**settings):
    server = ChaosServer(ChaosConfig.from_dict({"clock": "hand", "tokens": 3, **settings}))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Gone(asyncio.Protocol):
    """Serves nobody."""

    def connection_made(self, transport):
        transport.abort()


class Caller:
    """A keep-alive connection."""

    def __init__(self, port):
        self.port = port

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def ask(self, model="m", **more):
        body = payload(model, **more)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        return int((await self.reader.readuntil(b"\r\n\r\n")).split()[1])

    async def rest(self, size):
        return await self.reader.readexactly(size)


async def asks(port):
    async with Caller(port) as caller:
        return await caller.ask()


@linux
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_the_timelines_door(run, how):
    async def main():
        async with serving(timeline=[{"at": 5, "for": 5, "every": 30, "door": how}]) as server:
            seen = []
            for _ in range(2):
                for seconds in (4.9, 0.1, 4.9, 0.1, 20):
                    await server.advance(seconds)
                    seen.append(outcome(server.port))
                    if seen[-1] == "open":
                        assert await asks(server.port) == 200
            assert seen == ["open", how, how, "open", "open"] * 2

    run(main())


@linux
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_from_the_first_moment_on(run, how):
    """No connection gets in between the change and the loop's next turn."""

    async def main():
        async with serving() as server:
            server.shut(Shut(how, 5))
            assert outcome(server.port) == how
            assert outcome(server.port) == how
            await server.advance(4.99)
            assert outcome(server.port) == how
            await server.advance(0.01)
            assert outcome(server.port) == "open"
            assert await asks(server.port) == 200

    run(main())


@linux
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_connections_that_stand_live_on(run, how):
    async def main():
        scripts = {"slow": "stall=1 seconds=10"}
        async with (
            serving(scripts=scripts) as server,
            Caller(server.port) as idle,
            Caller(server.port) as busy,
        ):
            assert await busy.ask("slow", stream=True) == 200
            server.shut(Shut(how, 60))
            assert await idle.ask() == 200
            await server.advance(10)
            assert (await busy.reader.readuntil(b"0\r\n\r\n")).count(b"data: ") >= 3
            assert outcome(server.port) == how

    run(main())


@linux
@pytest.mark.parametrize("first", ["refused", "silent", "open"])
@pytest.mark.parametrize("second", ["refused", "silent", "open"])
def test_from_any_state_to_any_other(run, first, second):
    async def main():
        door = Door(Gone, HandClock())
        await door.open("127.0.0.1", 0)
        port = door.address[1]
        try:
            for state in (first, second, "open", second, first):
                door.set(state)
                assert outcome(port) == state
        finally:
            await door.close()
        assert outcome(port) == "refused"
        await asyncio.sleep(0)  # the turn in which the last one's socket is closed

    run(main())


@linux
def test_a_shut_goes_before_the_timeline_and_the_later_one_counts(run):
    async def main():
        async with serving(timeline=[{"at": 10, "for": 10, "door": "silent"}]) as server:
            await server.advance(8)
            server.shut(Shut("refused", 4))  # 8 to 12; the timeline's begins at 10
            await server.advance(3)
            assert outcome(server.port) == "refused"
            await server.advance(1)
            assert outcome(server.port) == "silent"
            server.shut(Shut("refused", 1))
            server.shut(Shut("refused", 2))
            await server.advance(1)
            assert outcome(server.port) == "refused"
            server.shut(Shut("refused", 1))
            await server.advance(1)
            assert outcome(server.port) == "silent"
            await server.advance(6)
            assert outcome(server.port) == "open"

    run(main())


@linux
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_stopping_while_shut_frees_the_port(run, how):
    async def main():
        async with serving() as server:
            port = server.port
            server.shut(Shut(how, 60))
        assert outcome(port) == "refused"
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()

    run(main())
    assert not [thread for thread in threading.enumerate() if thread.name == "chaos"]


@linux
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_the_port_is_kept_meanwhile(run, how):
    async def main():
        async with serving() as server:
            server.shut(Shut(how, 60))
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", server.port))
            # Nor is it given to who asks for any port, or connects from one.
            for _ in range(50):
                with socket.socket() as other:
                    other.bind(("127.0.0.1", 0))
                    assert other.getsockname()[1] != server.port

    run(main())


@linux
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_a_fault_shuts_the_door_once_its_reply_has_ended(run, how):
    async def main():
        scripts = {"last": "refuse=5" if how == "refused" else "deaf=5"}
        async with (
            serving(scripts=scripts) as server,
            Caller(server.port) as other,
            Caller(server.port) as caller,
        ):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await caller.ask("last")
            assert outcome(server.port) == how
            assert await other.ask() == 200
            await server.advance(5)
            assert outcome(server.port) == "open"

    run(main())


@linux
def test_who_met_silence_gets_in_when_the_door_opens(run):
    """The kernel sends its SYN again after a second or so."""

    async def main():
        async with serving() as server:
            server.shut(Shut("silent", 5))
            sock, code = begin(server.port)
            assert code == errno.EINPROGRESS
            await server.advance(5)
            await asyncio.to_thread(select.select, [], [sock], [], 20)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            sock.settimeout(10)
            with sock:
                body = payload()
                await asyncio.to_thread(
                    sock.sendall,
                    f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                    + body,
                )
                assert (await asyncio.to_thread(sock.recv, 12)) == b"HTTP/1.1 200"

    run(main())


def test_all_addresses_of_a_name_have_one_port(run):
    async def main():
        door = Door(Gone, HandClock())
        await door.open("localhost", 0)
        port = door.address[1]
        known = {info[4][0] for info in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
        reached = set()
        for state in ("open", "refused", "open"):
            door.set(state)
            for address in known:
                sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
                with sock, contextlib.suppress(OSError):
                    sock.connect((address, port))
                    assert state == "open"
                    reached.add(address)
        assert "127.0.0.1" in reached
        await door.close()
        await asyncio.sleep(0)  # the turn in which the last one's socket is closed

    run(main())


def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_open(run):
    async def main():
        async with serving() as server:
            other = ChaosServer()
            with pytest.raises(OSError, match="in use"):
                await other.start(port=server.port)
            await other.stop()
            assert await asks(server.port) == 200

    run(main())


def test_who_comes_while_no_file_can_be_opened_is_served_later(run):
    async def main():
        async with serving() as server:
            sock = socket.socket()
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            spare = os.open(os.devnull, os.O_RDONLY)
            os.close(spare)
            resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
            try:
                sock.connect(("127.0.0.1", server.port))
                while server._door._again is None:
                    await asyncio.sleep(0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            with sock:
                body = payload()
                head = f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
                sock.sendall(head.encode() + body)
                assert (await asyncio.to_thread(sock.recv, 12)) == b"HTTP/1.1 200"

    run(main())


def test_who_is_being_accepted_at_the_end_has_a_connection_by_then(run):
    async def main():
        made = []

        class Counted(Gone):
            def connection_made(self, transport):
                made.append(transport)
                super().connection_made(transport)

        door = Door(Counted, HandClock())
        await door.open("127.0.0.1", 0)
        with socket.create_connection(door.address):
            while not door._accepting:
                await asyncio.sleep(0)
            await door.close()
            assert len(made) == 1
        await asyncio.sleep(0)

    run(main())


def test_small_writes_go_at_once(run):
    """Without TCP_NODELAY each token would wait for the client's acknowledgment of the one before: 40 ms."""

    async def main():
        met = asyncio.get_running_loop().create_future()

        class Looked(asyncio.Protocol):
            def connection_made(self, transport):
                sock = transport.get_extra_info("socket")
                met.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                transport.abort()

        door = Door(Looked, HandClock())
        await door.open("127.0.0.1", 0)
        with socket.create_connection(door.address):
            assert await met
        await door.close()
        await asyncio.sleep(0)

    run(main())


def test_many_at_once_are_all_accepted(run):
    async def main():
        async with serving() as server:
            assert await asyncio.gather(*(asks(server.port) for _ in range(200))) == [200] * 200

    run(main())
