"""The settings of bulkheads, of the connection pool and of the thread and memory bulkheads: ``policies/bulkhead.md``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
from docs.tables.markdown import attribute_docs, code, table

from holdfast.resilience.bulkhead import BulkheadSettings
from holdfast.resilience.connection_pool import ConnectionPoolSettings
from holdfast.resilience.memory_bulkhead import MemoryBulkheadSettings
from holdfast.resilience.settings import ranges
from holdfast.resilience.thread_bulkhead import ThreadBulkheadSettings

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

    from holdfast.resilience.settings import Settings

__all__ = ["PARTS"]


def settings(kind: type[Settings]) -> str:
    said, allowed = attribute_docs(kind), ranges(kind)
    rows = [
        (f"`{field.name}`", code(field.default), str(allowed[field.name]), said[field.name])
        for field in msgspec.structs.fields(kind)
    ]
    return table(("setting", "default", "allowed", "meaning"), rows)


PARTS: Parts = {
    "bulkhead-settings": partial(settings, BulkheadSettings),
    "connection-pool-settings": partial(settings, ConnectionPoolSettings),
    "memory-bulkhead-settings": partial(settings, MemoryBulkheadSettings),
    "thread-bulkhead-settings": partial(settings, ThreadBulkheadSettings),
}
