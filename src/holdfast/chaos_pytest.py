"""The pytest plugin of the chaos provider: a real server for each test that asks for one.

    @pytest.mark.chaosllm(preset="gentle", rate_limit_pct=10, seed=7)
    def test_my_app(chaosllm_server):
        my_app.run(base_url=chaosllm_server.base_url)
        assert chaosllm_server.get_stats()["by_status"]["200"] == 10

It stands outside of ``holdfast.chaos``, and imports it when a test asks for a server: pytest imports this module at every
start of every project where Holdfast is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from holdfast.chaos import Chaos

__all__ = ["chaosllm_http_server", "chaosllm_server"]

_FIXTURES = ("chaosllm_server", "chaosllm_http_server")
_SHOWN = 40  # attempts in the report of a test that failed
_SERVER = pytest.StashKey["Chaos"]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "chaosllm(preset=..., NAME_pct=..., script=..., seed=..., ...): settings of this test's chaos provider, "
        "which the fixture chaosllm_server starts (see 'holdfast chaos show-config' for all of them).",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A marker that can't be meant, or can't have an effect, is an error of the test."""
    if item.get_closest_marker("chaosllm") is None:
        return
    if not set(_FIXTURES) & set(getattr(item, "fixturenames", ())):
        pytest.fail(
            f"@pytest.mark.chaosllm has no effect: the test asks for no {_FIXTURES[0]}", pytrace=False
        )
    _config(item)


@pytest.fixture
def chaosllm_server(request: pytest.FixtureRequest) -> Iterator[Chaos]:
    """A chaos provider on a free port, with the settings of the test's ``chaosllm`` marker; ended with the test.

    ``.url``, ``.base_url`` (with ``/v1``, for OpenAI's SDK), ``.admin_url``, ``.get_stats()``, ``.journal()``,
    ``.update_config(**options)``, ``.script(model, script)``, ``.reset()``, ``.wait_for_requests(n, timeout)``,
    ``.advance(seconds)``.
    """
    from holdfast.chaos import run_chaos  # see above

    with run_chaos(_config(request.node)) as chaos:
        request.node.stash[_SERVER] = chaos
        yield chaos


@pytest.fixture
def chaosllm_http_server(chaosllm_server: Chaos) -> Chaos:
    """The same server by the name that says that it is reached over HTTP."""
    return chaosllm_server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test's report tells what its provider did."""
    report = yield
    chaos = item.stash.get(_SERVER, None)
    if report.when == "call" and report.failed and chaos is not None:
        report.sections.append(("chaosllm journal", _told(chaos)))
    return report


def _config(node: pytest.Item) -> Any:
    """What the markers say, the test's own over its class's and its module's."""
    from holdfast.chaos.errors import ChaosError
    from holdfast.chaos.options import config

    options: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers("chaosllm"))):
        if mark.args:
            pytest.fail(f"@pytest.mark.chaosllm takes options by name, not {mark.args[0]!r}", pytrace=False)
        options.update(mark.kwargs)
    try:
        return config(options)
    except ChaosError as error:
        pytest.fail(f"@pytest.mark.chaosllm: {error}", pytrace=False)


def _told(chaos: Chaos) -> str:
    entries = chaos.journal()
    lines = [
        f"{e.seq:>4} {e.wire} {e.model} attempt {e.attempt} ({e.rule}): "
        f"{'no answer' if e.status is None else e.status}, {e.tokens} tokens, {e.end or 'running'}"
        f"{'; ' + ', '.join(e.faults) if e.faults else ''}"
        for e in entries[-_SHOWN:]
    ]
    if len(entries) > _SHOWN:
        lines.insert(0, f"the last {_SHOWN} of {len(entries)} attempts")
    return "\n".join(lines) or "no attempt arrived"
