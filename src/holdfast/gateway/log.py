"""Structured logs: JSON for machines, text on a terminal. Secrets don't print, whoever logs them."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Literal

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

__all__ = ["configure_logging", "set_level"]


def configure_logging(
    level: str, style: Literal["auto", "text", "json"], *, worker: int | None = None
) -> None:
    """Sends all logs, ours and our libraries', to standard error in one format. Call once, at start.

    Args:
        level: the least severe that is written.
        style: ``auto`` is text on a terminal and JSON elsewhere.
        worker: this process's number among several: every line carries it, and the process's id.
    """
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if worker is not None:
        shared.append(_Whose(worker))
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if text
        else structlog.processors.JSONRenderer(default=str)  # str of a Secret is its mask
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # its start and stop lines repeat ours
    logging.getLogger("uvicorn.access").disabled = True  # the ledger is the record


class _Whose:
    """Tells in each line which of several processes wrote it."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._pid = os.getpid()

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        event["worker"], event["pid"] = self._worker, self._pid
        return event


def set_level(level: str) -> None:
    """From now on logs from that level on."""
    logging.getLogger().setLevel(level.upper())
