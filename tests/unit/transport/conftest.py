from __future__ import annotations

import asyncio

import pytest
import uvloop


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine to its end on either loop, and fails on anything that the loop had to report."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.SelectorEventLoop

    def run_on_loop(coroutine):
        reports = []
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: reports.append(context))
            result = runner.run(coroutine)
        assert reports == []
        return result

    return run_on_loop
