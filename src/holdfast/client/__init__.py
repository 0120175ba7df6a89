"""The library: the gateway's engine in your own process, with the same configuration, promises and ledger."""

from holdfast.client.answer import ChatAnswer, StreamChunk, ToolCallPiece
from holdfast.client.client import Client
from holdfast.client.stream import ChatStream
from holdfast.client.sync_client import SyncChatStream, SyncClient

__all__ = [
    "ChatAnswer",
    "ChatStream",
    "Client",
    "StreamChunk",
    "SyncChatStream",
    "SyncClient",
    "ToolCallPiece",
]
