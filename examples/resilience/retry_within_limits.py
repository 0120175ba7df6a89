"""Retries with a budget, under a rate limit: ``python examples/resilience/retry_within_limits.py http://127.0.0.1:8000/``.

Thirty requests at once to a server that is meant to get no more than 20 in half a second. What fails for a moment is tried
again, each try in its turn; if everything fails, the budget ends the trying.
"""

import asyncio
import sys
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

from holdfast import (
    RateLimit,
    RateLimitSettings,
    Retry,
    RetryBudget,
    RetrySettings,
    RetryStoppedError,
    ThreadBulkhead,
    Timeout,
    compose,
)
from holdfast.resilience.backoff import Backoff

REQUESTS = 30


class BadStatus(Exception):
    """The server answered with an error. Policies read its ``status``."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def fetch(url: str) -> int:
    parts = urlsplit(url)
    with closing(HTTPConnection(parts.netloc, timeout=5)) as connection:
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        body = answer.read()
    if answer.status >= 400:
        raise BadStatus(answer.status)
    return len(body)


async def main(url: str) -> None:
    budget = RetryBudget()  # one for each server, shared by all who call it
    retry = Retry(RetrySettings(max_retries=3, backoff=Backoff(base_s=0.05)), budget=budget)
    rate = RateLimit(RateLimitSettings(requests=20, window_s=0.5, max_queue=100))
    guarded = compose(retry, rate, Timeout(10))
    ends: Counter[str] = Counter()

    async def one(threads: ThreadBulkhead) -> None:
        try:
            await guarded.call(lambda: threads.run(fetch, url))
            ends["answered"] += 1
        except RetryStoppedError as error:  # why it isn't tried again, and the last error
            ends[f"{type(error).__name__}: {error.last_error}"] += 1

    with ThreadBulkhead(max_workers=4, queue_size=100) as threads:
        await asyncio.gather(*(one(threads) for _ in range(REQUESTS)))
    for end, count in ends.most_common():
        print(f"{count} × {end}")
    print(f"{rate.admitted} requests sent for {REQUESTS}, {budget.snapshot().retries} of them retries")


asyncio.run(main(sys.argv[1]))
