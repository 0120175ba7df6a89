"""What is deployed with: each file by the tool that will read it, and the numbers in them that must agree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.config import load

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
SECRETS = {
    "DATABASE_URL": "postgresql://holdfast:pw@127.0.0.1/holdfast",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "HOLDFAST_ADMIN_KEY": "an-admin-key-that-is-long-enough-for-it",
    "OPENAI_API_KEY": "sk-1",
}
ENVIRONMENT = {"POSTGRES_PASSWORD": "pw", **SECRETS}


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    program = shutil.which(str(command[0]), path=path)
    assert program is not None, f"{command[0]} isn't installed: make servers"
    done = subprocess.run(
        [program, *map(str, command[1:])],
        env={"PATH": path, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compose() -> dict[str, Any]:
    said = run("docker-compose", "-f", DEPLOY / "compose/docker-compose.yml", "config", env=ENVIRONMENT)
    document: dict[str, Any] = yaml.safe_load(said)
    return document


def seconds(text: str) -> float:
    """As compose (``1m0s``) and systemd (``45s``) write it."""
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text).groups()  # type: ignore[union-attr]  # else it fails
    return 60 * int(minutes or 0) + int(rest or 0)


def directive(name: str) -> str:
    text = (DEPLOY / "compose/nginx.conf").read_text()
    return re.search(rf"^\s*{name} ([^;]+);", text, re.MULTILINE)[1]  # type: ignore[index]  # as above


@pytest.fixture(scope="module")
def config() -> Any:
    return load(DEPLOY / "holdfast.toml", SECRETS)


class TestEachByItsTool:
    def test_yaml(self) -> None:
        run(BIN / "yamllint", "--strict", "-c", DEPLOY / "yamllint.yml", DEPLOY)

    def test_compose(self) -> None:
        services = compose()["services"]
        assert set(services) == {"nginx", "gateway-1", "gateway-2", "postgres", "redis"}

    def test_image(self) -> None:
        run(BIN / "hadolint", "--failure-threshold", "info", DEPLOY / "Dockerfile")

    def test_nginx(self, tmp_path: Path) -> None:
        text = (DEPLOY / "compose/nginx.conf").read_text()
        text = re.sub(
            r"gateway-[12]:8080", "127.0.0.1:8080", text
        )  # names of hosts that stand in no zone here
        text = text.replace("/tmp/nginx.pid", f"{tmp_path}/nginx.pid")
        (tmp_path / "nginx.conf").write_text(text)
        run("nginx", "-t", "-c", tmp_path / "nginx.conf")

    def test_units(self, tmp_path: Path) -> None:
        text = (DEPLOY / "systemd/holdfast@.service").read_text()
        unit = tmp_path / "holdfast@8081.service"
        unit.write_text(text.replace("/opt/holdfast/bin/holdfast", shutil.which("true") or ""))
        run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)

    def test_kubernetes(self) -> None:
        run(BIN / "kubernetes-validate", "--strict", "--quiet", DEPLOY / "kubernetes/holdfast.yaml")

    def test_the_configuration_is_good(self, config: Any) -> None:
        assert [provider.name for provider in config.providers.values() if provider.usable] == ["openai"]
        assert config.rates.caller.requests == 600


class TestTheyAgree:
    def test_nobody_is_killed_while_it_drains(self, config: Any) -> None:
        drain_s = config.gateway.drain_s
        unit = (DEPLOY / "systemd/holdfast@.service").read_text()
        pod = next(yaml.safe_load_all((DEPLOY / "kubernetes/holdfast.yaml").read_text()))["spec"]["template"][
            "spec"
        ]
        pause_s = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
        patience = {
            "compose": seconds(compose()["services"]["gateway-1"]["stop_grace_period"]),
            "systemd": seconds(re.search(r"TimeoutStopSec=(\w+)", unit)[1]),  # type: ignore[index]  # as above
            "kubernetes": pod["terminationGracePeriodSeconds"] - pause_s,
        }
        assert {name: given for name, given in patience.items() if given < drain_s + 10} == {}

    def test_the_proxy_closes_first(self, config: Any) -> None:
        assert seconds(directive("keepalive_timeout")) < config.gateway.keepalive_s

    def test_the_proxy_lets_through_what_the_gateway_takes(self, config: Any) -> None:
        assert int(directive("client_max_body_size").removesuffix("m")) > config.gateway.max_body_mb

    def test_the_proxy_waits_longer_than_any_request_takes(self, config: Any) -> None:
        total_s = config.routes["chat"].policy.total_s
        assert seconds(directive("proxy_read_timeout")) > total_s

    def test_each_has_the_environment_that_the_configuration_names(self) -> None:
        wanted = set(re.findall(r"\$\{(\w+)", (DEPLOY / "holdfast.toml").read_text()))
        gateway = compose()["services"]["gateway-2"]["environment"]
        example = (DEPLOY / "systemd/holdfast.env.example").read_text()
        assert set(gateway) == wanted
        assert set(re.findall(r"^(\w+)=", example, re.MULTILINE)) == wanted

    def test_what_is_written_in_clear_is_no_secret(self) -> None:
        for file in DEPLOY.rglob("*"):
            if file.is_file():
                assert not re.search(r"sk-\w+|(?:KEY|PASSWORD)=\S", file.read_text()), file
