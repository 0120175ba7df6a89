"""OpenAI's Realtime API over WebSocket, the provider's side.

A connection and each of its responses is an attempt, with an entry in the journal (``operation`` is ``connect`` or
``realtime``) and a script. They are counted apart: a status in a model's script refuses the first handshake, and a fault
in it spoils the first response. Beside what they do to any stream, faults mean here:

- ``status``: the handshake is refused; where the prompt asks for it, or a window of the timeline, the response fails.
- ``cut=clean``: a close frame (1001) in the middle of the response; ``cut`` is a FIN without one.
- ``error_event``: the ``error`` event, then a close frame (1011); ``then=done``: a failed response, and the session goes on.
- ``no_finish``: no ``response.done``. ``no_usage``: none in it.
- ``hang``: not even pings are answered any more; ``hang=SECONDS``, ``stall`` and ``slow`` only keep the response back.
- ``wrong_type``: a message that isn't JSON. ``error_in_200``: an ``error`` event, and a failed response.
"""

from holdfast.chaos.realtime.host import Realtime
from holdfast.chaos.realtime.paths import is_realtime
from holdfast.chaos.realtime.settings import RealtimeSettings

__all__ = ["Realtime", "RealtimeSettings", "is_realtime"]
