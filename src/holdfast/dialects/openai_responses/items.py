"""What an answer's items are to the stream guard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.dialects.base import TOOL

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ITEMS"]

ITEMS: Final[Mapping[str, int]] = {
    # What these say comes after their beginning.
    "message": 0,
    "reasoning": 0,
    # Calls that wait for the caller.
    "function_call": TOOL,
    "custom_tool_call": TOOL,
    "computer_call": TOOL,
    "local_shell_call": TOOL,
    "shell_call": TOOL,
    "apply_patch_call": TOOL,
    "mcp_approval_request": TOOL,
}
"""The content that an item is from its beginning. Any other kind is a tool that the provider runs itself, or newer than we
are: content of no kind of its own."""
