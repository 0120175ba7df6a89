"""Recorded requests to OpenAI's Responses API in the neutral model, as far as that dialect's texts and functions go."""

from holdfast.model import Message, Request, Role, Text, Tool, ToolCall, ToolResult

_ABOUT = {
    "include", "input", "instructions", "max_output_tokens", "metadata", "model", "parallel_tool_calls", "reasoning",
    "background", "service_tier", "stream", "store", "temperature", "tool_choice", "tools", "top_logprobs", "truncation",
    "user",
}  # fmt: skip


def request_of(body):
    """The request, or None if something else than texts and functions is in it, or thoughts (which are sealed)."""
    if not {name for name, value in body.items() if value is not None} <= _ABOUT:
        return None
    messages = [_said("system", body["instructions"])] if body.get("instructions") else []
    given = body["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        message = _message(item)
        if message is None:
            return None
        if messages and _calls(message) and _calls(messages[-1]):
            message = Message(role=Role.ASSISTANT, parts=(*messages.pop().parts, *message.parts))
        messages.append(message)
    tools = body.get("tools") or []
    if any(tool["type"] != "function" for tool in tools):
        return None
    return Request(
        model=body["model"],
        messages=tuple(messages),
        tools=tuple(
            Tool(name=tool["name"], description=tool.get("description"), parameters=tool.get("parameters"))
            for tool in tools
        ),
        dialect="openai_responses",
    )


def _message(item):
    match item.get("type", "message"):
        case "message" if isinstance(item["content"], str):
            return _said(item["role"], item["content"])
        case "message" if item["content"] and all("text" in part for part in item["content"]):
            return _said(item["role"], *(part["text"] for part in item["content"]))
        case "function_call":
            return Message(
                role=Role.ASSISTANT, parts=(ToolCall(name=item["name"], arguments=item["arguments"]),)
            )
        case "function_call_output" if isinstance(item["output"], str):
            return Message(role=Role.TOOL, parts=(ToolResult(parts=(Text(text=item["output"]),)),))
    return None


def _said(role, *texts):
    return Message(role=Role(role), parts=tuple(Text(text=text) for text in texts if text))


def _calls(message):
    return bool(message.parts) and all(isinstance(part, ToolCall) for part in message.parts)
