"""Ask several questions at once, and see who answered: ``python examples/library_async.py``.

Providers are those whose keys are in the environment (OPENAI_API_KEY, …), or those of a file: pass its path.
"""

import asyncio
import sys

from holdfast import Client
from holdfast.errors import HoldfastError

QUESTIONS = ["Name a prime.", "Name a river.", "Name a colour."]


async def ask(client: Client, question: str) -> None:
    try:
        answer = await client.chat(question, max_tokens=200, timeout=60, tags={"example": "async"})
    except HoldfastError as error:
        print(f"{question} -> {type(error).__name__}: {error}")
        return
    cost = "unknown" if answer.cost_usd is None else f"${answer.cost_usd}"
    print(f"{question} -> {answer.text!r} by {answer.provider} in {answer.attempts} attempt(s), cost {cost}")


async def main() -> None:
    async with Client(sys.argv[1] if len(sys.argv) > 1 else None) as client:
        print("providers, in order:", ", ".join(client.fallback_chain) or "none has a key")
        await asyncio.gather(*(ask(client, question) for question in QUESTIONS))


asyncio.run(main())
