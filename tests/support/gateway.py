"""A whole gateway in a thread: its own loop, a free port, a real SQLite ledger. What it did can be awaited, not guessed."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uvloop

from holdfast.app import App
from holdfast.config import parse
from holdfast.gateway.http import Gateway
from holdfast.gateway.metrics import Metrics
from holdfast.gateway.server import _Server
from holdfast.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from holdfast.config import Config
    from holdfast.ledger.entry import AttemptRow, Counts, End, Intent, Record

__all__ = ["CANARY", "FREE_RETRIES", "PRICE_IN", "PRICE_OUT", "Running", "document_of", "run_gateway"]

CANARY = "sk-canary-5d1f0e8b7a"
"""The key that we send to providers: it may show up nowhere else."""
PRICE_IN, PRICE_OUT = 1_000, 2_000
"""Nano-dollars per token, of every model that :func:`document_of` was told."""
FREE_RETRIES = {"budget_ratio": 1, "budget_floor_per_s": 1_000}
"""For ``retry``, and ``{"enabled": False}`` for ``breaker``: where each request is looked at alone, many of them fail, and
what they have in common at a target must not matter."""


def document_of(
    chaos_url: str, ledger: Path, *, models: Iterable[str] = (), **sections: Any
) -> dict[str, Any]:
    """A configuration with two providers, ``one`` and ``two``, both at ``chaos_url``; ``sections`` go over it.

    Args:
        chaos_url: with ``/v1``.
        ledger: the database's path.
        models: names that have a price, whoever serves them.
    """
    price = {"input_per_1m": PRICE_IN // 1_000, "output_per_1m": PRICE_OUT // 1_000}
    document: dict[str, Any] = {
        "gateway": {"host": "127.0.0.1", "port": 0, "drain_s": 5},
        "ledger": {"url": f"sqlite:///{ledger}", "busy_timeout_s": 0.2},
        "providers": {
            name: {"dialect": "openai_chat", "base_url": chaos_url, "api_key": CANARY}
            for name in ("one", "two")
        },
        "prices": dict.fromkeys(models, price),
    }
    for name, section in sections.items():
        document[name] = {**document.get(name, {}), **section} if isinstance(section, dict) else section
    return document


class _Logs(logging.Handler):
    """Every record that any logger made, rendered: what a reader of the log would see.

    But the chaos provider's, which is another process in real life: asyncio 3.11 closes a socket twice where a peer resets
    it just as the last buffered byte leaves, and says so with a traceback.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.threadName == "chaos":
            return
        self.records.append(record)
        self.text.append(self.format(record))


class _Watched(Metrics):
    """The gateway's own metrics; what they are told is told to waiting tests as well."""

    changed: threading.Condition
    intents: dict[str, Intent]
    rows: list[tuple[str, AttemptRow]]
    ends: dict[str, End]

    def accepted(self, intent: Intent) -> None:
        super().accepted(intent)
        with self.changed:
            self.intents[intent.id] = intent
            self.changed.notify_all()

    def attempted(self, intent: Intent, row: AttemptRow) -> None:
        super().attempted(intent, row)
        with self.changed:
            self.rows.append((intent.id, row))
            self.changed.notify_all()

    def ended(self, intent: Intent, end: End) -> None:
        super().ended(intent, end)
        with self.changed:
            self.ends[end.id] = end
            self.changed.notify_all()


@dataclass
class Running:
    """A gateway that is up."""

    config: Config
    path: Path
    """Of the ledger's file, where it is one."""
    port: int
    loop: asyncio.AbstractEventLoop
    gateway: Gateway
    app: App
    server: _Server
    seen: _Watched
    logs: _Logs = field(default_factory=_Logs)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def run(self, work: Coroutine[Any, Any, Any], timeout: float = 10.0) -> Any:
        """Runs ``work`` on the gateway's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def call(self, work: Callable[[], Any]) -> Any:
        """Calls ``work`` on the gateway's loop."""

        async def there() -> Any:
            return work()

        return self.run(there())

    def stop(self) -> None:
        """What SIGTERM does: on the gateway's loop only."""
        self.server.should_exit = True

    def wait_for(self, happened: Callable[[], Any], timeout: float = 5.0) -> Any:
        """Blocks until ``happened()`` is true; it is asked again whenever the engine tells of anything."""
        until = time.monotonic() + timeout
        with self.seen.changed:
            while not (value := happened()):
                if not self.seen.changed.wait(max(0.0, until - time.monotonic())):
                    raise TimeoutError("the gateway did not get there")
            return value

    def end_of(self, model: str, timeout: float = 5.0) -> End:
        """The end of the only request for ``model``, once it is there."""

        def ended() -> End | None:
            ids = [request_id for request_id, intent in self.seen.intents.items() if intent.model == model]
            assert len(ids) <= 1, f"{len(ids)} requests for {model}"
            return self.seen.ends.get(ids[0]) if ids else None

        return self.wait_for(ended, timeout)

    def record(self, request_id: str) -> Record:
        """The request as the ledger's file has it."""
        self.run(self.app.ledger.flush())
        with LedgerReader(self.path) as reader:
            return reader.show(request_id)

    def records(self) -> dict[str, Record]:
        """All of them, by id."""
        self.run(self.app.ledger.flush())
        with LedgerReader(self.path) as reader:
            return {record.intent.id: record for record in reader.requests(limit=None)}

    def counts(self) -> Counts:
        self.run(self.app.ledger.flush())
        with LedgerReader(self.path) as reader:
            return reader.counts()

    def no_traceback(self) -> None:
        """Fails if anything was logged with an exception, at an error level, or with the provider's key in it."""
        bad = [
            text
            for record, text in zip(self.logs.records, self.logs.text, strict=True)
            if record.exc_info or record.levelno >= logging.ERROR or "Traceback" in text
        ]
        assert bad == []
        assert not any(CANARY in text for text in self.logs.text)


@contextmanager
def run_gateway(document: dict[str, Any]) -> Iterator[Running]:
    """A gateway in a thread, on uvloop as in production. Stopping it drains it and closes the ledger."""
    config = parse(document, {})
    up = threading.Event()
    made: list[Running] = []
    failure: list[BaseException] = []

    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    logs = _Logs()

    async def live() -> None:
        app = await App.start(config)
        try:
            seen = _Watched(app.ledger)
            seen.changed, seen.intents, seen.rows, seen.ends = threading.Condition(), {}, [], {}
            seen.watch(app)
            gateway = Gateway(app, seen)
            loop, port = asyncio.get_running_loop(), listener.getsockname()[1]

            def announce(_url: str, _keyed: bool) -> None:
                path = Path(config.ledger.path)
                made.append(Running(config, path, port, loop, gateway, app, server, seen, logs))
                up.set()

            server = _Server(gateway, config, announce)
            await server.serve(sockets=[listener])
        finally:
            await app.aclose()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(live())
        except BaseException as error:  # noqa: BLE001  # handed to the thread that waits
            failure.append(error)
        finally:
            up.set()

    with ExitStack() as stack:
        stack.enter_context(listener)
        stack.enter_context(_listening(logs))
        thread = threading.Thread(target=run, name="gateway", daemon=True)
        thread.start()
        up.wait(20)
        if not made:
            raise failure[0] if failure else TimeoutError("the gateway did not start")
        try:
            yield made[0]
        finally:
            if thread.is_alive():
                made[0].loop.call_soon_threadsafe(made[0].stop)
            thread.join(20)
            assert not thread.is_alive(), "the gateway did not stop"
        if failure:
            raise failure[0]


@contextmanager
def _listening(logs: _Logs) -> Iterator[None]:
    """All logs, ours and the libraries', go to ``logs`` as well."""
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    root = logging.getLogger()
    level = root.level
    root.addHandler(logs)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(logs)
        root.setLevel(level)
