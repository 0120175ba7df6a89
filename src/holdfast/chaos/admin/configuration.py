"""Settings, shown and changed while the server runs. Secrets are never told, and what stands for one keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos import presets
from holdfast.chaos.admin.calls import BadCall, Call, Endpoint, Server
from holdfast.chaos.config import FIXED

if TYPE_CHECKING:
    from holdfast.chaos.config import ChaosConfig

__all__ = ["ENDPOINTS", "MASK", "masked"]

MASK = "***"
_STAYS = (*FIXED, "admin_token")
"""What a whole new configuration leaves as it is where it doesn't say it: it can't change, or would open the door."""


def masked(config: ChaosConfig) -> dict[str, Any]:
    """All settings; each secret as :data:`MASK`, and API keys that have scripts as ``*** 1``, ``*** 2`` …"""
    shown: dict[str, Any] = msgspec.to_builtins(config)
    shown["api_keys"] = [MASK] * len(config.api_keys)
    shown["admin_token"] = None if config.admin_token is None else MASK
    shown["keys"] = {f"{MASK} {i}": script for i, script in enumerate(config.keys.values(), 1)}
    return shown


def _unmasked(values: dict[str, Any], config: ChaosConfig) -> dict[str, Any]:
    """``values`` with the secrets that masks stand for, so that what was shown can be sent back."""
    said = dict(values)
    if said.get("admin_token") == MASK:
        said["admin_token"] = config.admin_token
    if isinstance(listed := said.get("api_keys"), list):
        known = config.api_keys
        if MASK in listed and len(listed) != len(known):
            raise BadCall(f"api_keys: which of {len(known)} keys does {MASK} stand for? Name all of them.")
        said["api_keys"] = [known[i] if key == MASK else key for i, key in enumerate(listed)]
    if isinstance(scripts := said.get("keys"), dict):
        names = {f"{MASK} {i}": key for i, key in enumerate(config.keys, 1)}
        if lost := [name for name in scripts if name.startswith(MASK) and name not in names]:
            raise BadCall(f"keys: {lost[0]!r} stands for no key")
        said["keys"] = {names.get(name, name): script for name, script in scripts.items()}
    return said


def _go_by(server: Server, changed: ChaosConfig) -> dict[str, Any]:
    if changed.admin_token is None and server.config.admin_token is not None:
        raise BadCall("admin_token can change while the server runs, but not go")
    server.reconfigure(changed)
    return masked(server.config)


def _show(server: Server, _call: Call) -> dict[str, Any]:
    return masked(server.config)


def _change(server: Server, call: Call) -> dict[str, Any]:
    return _go_by(server, server.config.merged(_unmasked(call.table, server.config)))


def _replace(server: Server, call: Call) -> dict[str, Any]:
    values = _unmasked(call.table, server.config)
    stays = {name: getattr(server.config, name) for name in _STAYS}
    return _go_by(server, type(server.config).from_dict({**stays, **values}))


def _set_scripts(server: Server, call: Call) -> dict[str, Any]:
    body = call.table
    if body.keys() == {"model", "script"} and isinstance(body["model"], str):
        body = {"scripts": {body["model"]: body["script"]}}
    if body.keys() != {"scripts"} or not isinstance(body["scripts"], dict):
        raise BadCall('the body is {"model": PATTERN, "script": SCRIPT} or {"scripts": {PATTERN: SCRIPT, …}}')
    server.set_scripts(body["scripts"])
    return {"status": "ok", "scripts": server.config.scripts}


def _presets(_server: Server, _call: Call) -> list[dict[str, Any]]:
    return [
        {"name": name, "summary": presets.summary(name), "settings": presets.load(name)}
        for name in presets.NAMES
    ]


ENDPOINTS = (
    Endpoint("GET", "/admin/config", _show, "the settings in force; secrets masked"),
    Endpoint(
        "PATCH",
        "/admin/config",
        _change,
        "changes the settings that the body's JSON object names (a merge patch: null takes one back to its default)",
    ),
    Endpoint(
        "PUT",
        "/admin/config",
        _replace,
        "the body's settings and no others; the token and what can't change while the server runs stay",
    ),
    Endpoint(
        "POST",
        "/admin/script",
        _set_scripts,
        '`{"model": PATTERN, "script": SCRIPT}` or `{"scripts": {PATTERN: SCRIPT}}`: all or none; '
        "those models count from 1 again",
    ),
    Endpoint("GET", "/admin/presets", _presets, "the presets, with what they are for and all they set"),
)
