"""The items of ``input``: what is in them, and what the API refuses about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.chaos.wire.base import MESSAGE_TOKENS, PART_TOKENS, text_tokens
from holdfast.chaos.wire.openai_responses import fields
from holdfast.chaos.wire.openai_responses.content import GIVEN, SAID, Prompt
from holdfast.chaos.wire.openai_responses.items import is_encrypted

if TYPE_CHECKING:
    from holdfast.chaos.wire.errors import Refused
    from holdfast.chaos.wire.openai_responses.flavours import Flavour

__all__ = ["prompt_of"]

_ROLES = ("assistant", "system", "developer", "user")
_PREFIXES = {"message": "msg", "function_call": "fc", "reasoning": "rs"}
_OTHERS = frozenset((
    "additional_tools", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "compaction",
    "compaction_trigger", "computer_call", "computer_call_output", "configuration_update", "custom_tool_call",
    "custom_tool_call_output", "file_search_call", "image_generation_call", "local_shell_call", "local_shell_call_output",
    "mcp_approval_request", "mcp_approval_response", "mcp_call", "mcp_list_tools", "program", "program_output",
    "shell_call", "shell_call_output", "tool_search_call", "tool_search_output", "web_search_call",
))  # fmt: skip  # a list reads better packed
"""Items that are taken, and not looked into."""


def prompt_of(request: dict[str, Any], flavour: Flavour, *, follows: bool) -> Prompt:
    """Instructions and input of ``request``. Raises :class:`Refused`.

    ``follows``: an earlier answer, which may have made the calls that are answered here.
    """
    prompt = Prompt()
    if (instructions := fields.text(request, "instructions")) is not None:
        prompt.tokens += MESSAGE_TOKENS + text_tokens(instructions)
    given = request.get("input")
    if isinstance(given, str):
        prompt.tokens += MESSAGE_TOKENS
        prompt.say(given)
        prompt.last_user_text = given
        return prompt
    if given is not None and not isinstance(given, list):
        raise fields.wrong_type("input", "one of a string or array of input items", given)
    reader = _Reader(prompt, flavour, follows=follows)
    for path, item in fields.items(request, "input"):
        reader.item(path, item)
    reader.end()
    return prompt


class _Reader:
    """Reads items in their order, and keeps in mind what must still come."""

    def __init__(self, prompt: Prompt, flavour: Flavour, *, follows: bool) -> None:
        self._prompt = prompt
        self._flavour = flavour
        self._follows = follows
        self._ids: set[str] = set()
        self._open: dict[str, None] = {}
        """Calls without output yet, in their order."""
        self._called: set[str] = set()
        self._answering = False
        """Whether the item before was a call's output."""
        self._torn: str | None = None
        """A reasoning item that hasn't led to anything yet."""

    def item(self, path: str, item: dict[str, Any]) -> None:
        kind = _kind(path, item)
        self._check_id(path, item, kind)
        if kind != "reasoning":
            self._check_torn(item, kind)
        self._check_turn(kind)
        match kind:
            case "message":
                self._message(path, item)
            case "function_call":
                self._call(path, item)
            case "function_call_output":
                self._output(path, item)
            case "reasoning":
                self._reasoning(path, item)
            case "item_reference":
                self._reference(path, item)
            case _ if kind in _OTHERS:
                self._prompt.tokens += PART_TOKENS
            case _:
                allowed = sorted((*_OTHERS, *_PREFIXES, "function_call_output", "item_reference"))
                raise fields.unsupported(path, kind, allowed)

    def end(self) -> None:
        if self._torn is not None:
            raise _torn(self._torn)
        if self._open:
            raise self._unanswered()

    def _check_id(self, path: str, item: dict[str, Any], kind: str) -> None:
        item_id = fields.text(item, "id", f"{path}.")
        if item_id is None or not self._flavour.strict:
            return
        prefix = _PREFIXES.get(kind)
        if prefix is not None and not item_id.startswith(prefix):
            message = f"Invalid '{path}.id': '{item_id[:64]}'. Expected an ID that begins with '{prefix}'."
            raise fields.refused(message, f"{path}.id", "invalid_value")
        if item_id in self._ids:
            message = f"Duplicate item found with id {item_id}. Remove duplicate items from your input and try again."
            raise fields.refused(message, "input", "duplicate_item")
        self._ids.add(item_id)

    def _check_torn(self, item: dict[str, Any], kind: str) -> None:
        """A thought that has an id comes back with what it led to: a call, or the message that has an id too."""
        thought, self._torn = self._torn, None
        if thought is None or kind == "item_reference" or kind.endswith("call"):
            return
        if kind != "message" or item.get("role") != "assistant" or item.get("id") is None:
            raise _torn(thought)

    def _check_turn(self, kind: str) -> None:
        """Some want the outputs right after all the calls of a turn."""
        if self._flavour.loose_outputs or not self._open:
            return
        if kind != "function_call_output" and (kind != "function_call" or self._answering):
            raise self._unanswered()

    def _message(self, path: str, item: dict[str, Any]) -> None:
        role = fields.one_of(item, "role", f"{path}.", _ROLES)
        if role is None:
            raise fields.missing(f"{path}.role")
        self._prompt.tokens += MESSAGE_TOKENS
        text = self._prompt.read(item, "content", path, SAID if role == "assistant" else GIVEN)
        if role == "user":
            self._prompt.last_user_text = text

    def _call(self, path: str, item: dict[str, Any]) -> None:
        call_id = fields.required(item, "call_id", f"{path}.")
        fields.required(item, "name", f"{path}.")
        fields.required(item, "arguments", f"{path}.")
        self._open[call_id] = None
        self._called.add(call_id)
        self._answering = False

    def _output(self, path: str, item: dict[str, Any]) -> None:
        call_id = fields.required(item, "call_id", f"{path}.")
        self._prompt.tokens += MESSAGE_TOKENS
        self._prompt.read(item, "output", path, GIVEN)
        if call_id not in self._called and not self._follows:
            message = f"No tool call found for function call output with call_id {call_id}."
            raise fields.refused(message, "input")
        self._open.pop(call_id, None)
        self._answering = True

    def _reasoning(self, path: str, item: dict[str, Any]) -> None:
        flavour = self._flavour
        for name in ("summary", "content"):
            for place, part in fields.items(item, name, f"{path}."):
                fields.required(part, "text", f"{place}.")
        if flavour.strict and item.get("summary") is None:
            raise fields.missing(f"{path}.summary")
        item_id = item.get("id")
        proof = fields.text(item, "encrypted_content", f"{path}.")
        if proof is not None:
            _check_proof(proof, item_id, flavour)
        elif flavour.strict:
            if item_id is None:
                raise fields.missing(f"{path}.id")
            if not flavour.knows(item_id):
                raise _not_found(item_id)
        if flavour.strict:
            self._torn = item_id

    def _reference(self, path: str, item: dict[str, Any]) -> None:
        item_id = fields.required(item, "id", f"{path}.")
        if not self._flavour.knows(item_id):
            raise _not_found(item_id)
        self._follows = True

    def _unanswered(self) -> Refused:
        call = next(iter(self._open))
        if self._flavour.loose_outputs:
            return fields.refused(f"No tool output found for function call {call}.", "input")
        message = f"No tool output found for tool call {call}."
        return fields.refused(message, None, "invalid_request_error")


def _kind(path: str, item: dict[str, Any]) -> str:
    kind = fields.text(item, "type", f"{path}.")
    if kind is not None:
        return kind
    if "role" in item:
        return "message"
    if set(item) == {"id"}:
        return "item_reference"
    raise fields.missing(f"{path}.type")


def _check_proof(proof: str, item_id: str | None, flavour: Flavour) -> None:
    """Encrypted thoughts are this provider's own, unchanged, and those of the item that they come back in."""
    if not is_encrypted(flavour, proof):
        raise _unverified(proof, "Encrypted content could not be decrypted or parsed.")
    if item_id is not None and not is_encrypted(flavour, proof, item_id):
        raise _unverified(proof, "Encrypted content item_id did not match the target item id.")


def _unverified(proof: str, reason: str) -> Refused:
    shown = f"{proof[:4]}...{proof[-4:]}"
    message = f"The encrypted content {shown} could not be verified. Reason: {reason}"
    return fields.refused(message, None, "invalid_encrypted_content")


def _not_found(item_id: str) -> Refused:
    message = (
        f"Item with id '{item_id[:128]}' not found. Items are not persisted when `store` is set to false. Try again "
        "with `store` set to true, or remove this item from your input."
    )
    return fields.refused(message, "input", status=404)


def _torn(item_id: str) -> Refused:
    message = f"Item '{item_id[:128]}' of type 'reasoning' was provided without its required following item."
    return fields.refused(message, "input")
