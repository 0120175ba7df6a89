"""A circuit breaker around your own HTTP call: ``python examples/resilience/breaker_around_http.py http://127.0.0.1:8000/``.

While the server answers 5xx, or not at all, it isn't asked. Stop it and start it again to see the breaker open and close.
"""

import asyncio
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from holdfast import CircuitBreaker, CircuitBreakerOpenError, ThreadBulkhead
from holdfast.resilience.outcome import Outcome, outcome_of

TRIES = 12


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


def verdict(error: BaseException) -> Outcome:
    """A 4xx is our own fault, and says nothing against the server."""
    if isinstance(error, BadStatus) and error.status < 500:
        return Outcome.NEUTRAL
    return outcome_of(error)


async def main(url: str) -> None:
    breaker = CircuitBreaker(failure_threshold=3, success_threshold=1, open_timeout=0.5, classify=verdict)
    with ThreadBulkhead(max_workers=4, queue_size=20) as threads:  # fetch blocks
        for number in range(1, TRIES + 1):
            try:
                size = await breaker.call(lambda: threads.run(fetch, url))
                print(f"{number}: {size} bytes")
            except CircuitBreakerOpenError as error:
                print(f"{number}: not asked, for {error.retry_after_s:.2f} s")
                await asyncio.sleep(error.retry_after_s or 0)
            except (BadStatus, OSError, HTTPException) as error:
                print(f"{number}: {error}")
    print(breaker.get_metrics())


asyncio.run(main(sys.argv[1]))
