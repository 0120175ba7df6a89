"""A body that is small on the wire and far too large once it is opened: ``content-encoding: gzip``, asked for or not."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from holdfast.chaos.faults import huge
from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.plan import Context, Part, Reply

_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"  # RFC 1952: deflate, no name, no time, best compression


class GzipBomb(FaultSettings, frozen=True):
    megabytes: Annotated[float, msgspec.Meta(gt=0, le=100_000)] = 1000.0
    """Size of the text once it is opened, in units of 10⁶ bytes; about a thousandth of it goes over the wire."""


def _apply(reply: Reply, settings: GzipBomb, context: Context) -> Reply:
    reply = huge.FAULT.apply(reply, huge.Huge(megabytes=settings.megabytes), context)
    reply.parts = _packed(reply.parts)
    reply.length = None
    reply.headers["content-encoding"] = "gzip"
    return reply


def _packed(parts: Iterable[Part]) -> Iterator[Part]:
    """Each part ends on a byte, independent of what came before: so the same block packs to the same bytes, once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    crc = size = 0
    last, packed = b"", b""
    yield Part(_HEAD, "noise")
    for part in parts:
        crc = zlib.crc32(part.data, crc)
        size += len(part.data)
        if part.data is not last:
            last = part.data
            packed = packer.compress(part.data) + packer.flush(zlib.Z_FULL_FLUSH)
        part.data, part.at = packed, 0
        yield part
    trailer = struct.pack("<II", crc, size & 0xFFFF_FFFF)  # of the whole, as RFC 1952 has it
    yield Part(packer.flush(zlib.Z_FINISH) + trailer, "noise")


FAULT = Fault(
    "gzip_bomb",
    "small on the wire, huge once opened",
    _apply,
    GzipBomb,
    primary="megabytes",
    where=lambda context: context.asked.sse,  # an array's commas come later, between packed parts
)
