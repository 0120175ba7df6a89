"""One of several processes that serve together: started by ``holdfast serve --workers``, and by nobody else.

Its one argument is the descriptor of its end of the link to the supervisor, which tells it what to serve.
"""

import asyncio
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

from holdfast.cli.environment import environment
from holdfast.cli.rereading import rereading
from holdfast.cli.serve import event_loop
from holdfast.config import load, with_simulated
from holdfast.errors import HoldfastError
from holdfast.gateway.log import configure_logging
from holdfast.gateway.server import serve
from holdfast.gateway.workers_crew import Seat
from holdfast.gateway.workers_link import Begin, read_begin

__all__ = ["main"]


def main() -> int:
    """The exit code: 0 ended in order; 1 it couldn't serve, and has told the supervisor why."""
    end = socket.socket(fileno=int(sys.argv[1]))
    end.set_inheritable(False)  # whoever holds it is this worker, and its death is seen
    stop = _Stop()
    begin = read_begin(end)
    if begin is None:
        return 0
    listener = socket.socket(fileno=begin.listener)
    listener.set_inheritable(False)
    seat = Seat(begin.number, end)
    try:
        _serve(begin, listener, seat, stop)
    except HoldfastError as error:
        seat.fail(error.message)
        return 1
    except OSError as error:
        seat.fail(str(error))
        return 1
    return 0


def _serve(begin: Begin, listener: socket.socket, seat: Seat, stop: "_Stop") -> None:
    config = load(
        begin.file, environment(), text=begin.text, host=begin.host, port=begin.port, workers=begin.workers
    )
    if begin.simulated and not config.has_providers:
        config = with_simulated(config, begin.simulated)
    configure_logging(config.gateway.log.level, config.gateway.log.format, worker=begin.number)

    def announce(_url: str, _keyed: bool) -> None:
        stop.serving = True

    file = None if begin.file is None else Path(begin.file)
    read = rereading(file, host=begin.host, port=begin.port, workers=begin.workers, simulated=begin.simulated)
    with asyncio.Runner(loop_factory=event_loop()) as runner:
        runner.run(serve(config, announce=announce, listener=listener, seat=seat, read=read))


class _Stop:
    """Signals to end, for as long as the server doesn't take them itself."""

    def __init__(self) -> None:
        self.serving = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the default would end it

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self.serving:  # it starts: nothing is lost. Later it has drained, and ends by itself
            raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
