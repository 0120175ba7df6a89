"""A streamed answer without async: ``python examples/library_stream.py "Tell me a story."``. Ctrl-C ends it, settled."""

import sys

from holdfast import SyncClient
from holdfast.errors import HoldfastError

with SyncClient() as client:
    try:
        with client.stream(sys.argv[1] if len(sys.argv) > 1 else "Count to five.") as stream:
            for chunk in stream:
                print(chunk.text, end="", flush=True)
            answer = stream.answer()
        print(f"\n[{answer.finish_reason}, {answer.provider}, {answer.attempts} attempt(s)]")
    except HoldfastError as error:  # before the first chunk or after it: a stream that breaks never just ends
        print(f"\n[{type(error).__name__}: {error}]", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\n[left early]", file=sys.stderr)
