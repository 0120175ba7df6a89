"""What ``holdfast serve`` says of configurations that the end-to-end tests don't start."""

from __future__ import annotations

from holdfast.cli.welcome import welcome
from holdfast.config import Config, parse


def said(config: Config, url: str = "http://127.0.0.1:8080") -> list[str]:
    return list(welcome(config, url, "holdfast", simulated=False, keyed=not config.open))


def wall(**more: object) -> Config:
    provider = {"dialect": "openai_chat", "base_url": "http://127.0.0.1:1/v1", "auth": "none"}
    return parse({"providers": {"wall": provider}, **more}, {})


def test_providers_without_a_route_still_say_how_to_ask_and_where_to_look() -> None:
    lines = said(wall())
    assert 'There is no route: ask for a provider and a model, such as "wall/MODEL".' in lines
    assert lines[-1].strip() == "holdfast ledger tail"


def test_another_ledger_is_part_of_the_line_to_paste() -> None:
    lines = said(wall(ledger={"url": "sqlite:////var/lib/my files/h.db"}))
    assert lines[-1].strip() == "holdfast ledger tail --ledger '/var/lib/my files/h.db'"


def test_a_route_is_asked_for_by_its_name_where_there_is_no_chat() -> None:
    lines = said(wall(routes={"drill": {"targets": ["wall/m"]}}))
    assert '"model": "drill"' in next(line for line in lines if "curl" in line)


def test_listening_on_all_addresses_is_reached_by_loopback() -> None:
    for url, reached in (("http://0.0.0.0:80", "http://127.0.0.1:80"), ("http://[::]:80", "http://[::1]:80")):
        lines = said(wall(routes={"chat": {"targets": ["wall/m"]}}), url)
        assert f" {reached}/v1/" in next(line for line in lines if "curl" in line)


def test_equals_and_addresses_are_told_apart_from_the_chain() -> None:
    keys = {"api_keys": ["a", "b"]}
    chat = {"targets": [["openai/m", "wall/m"], "wall/n"]}
    provider = {"dialect": "openai_chat", "base_url": "http://127.0.0.1:1/v1", "auth": "none"}
    config = parse({"providers": {"openai": keys, "wall": provider}, "routes": {"chat": chat}}, {})
    lines = [line.strip() for line in said(config)]
    assert "providers  openai (https://api.openai.com/v1), wall (http://127.0.0.1:1/v1)" in lines
    assert "routes     chat -> openai[1]/m or openai[2]/m or wall/m, then wall/n" in lines
