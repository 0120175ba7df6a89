"""One effect for one key: ``python examples/resilience/charge_once.py orders.db order-7 12``.

Run it again, or many at once, or kill it: the card is charged once. Another amount under the same key is refused. The keys
are in the file; one process at a time writes to it.
"""

import asyncio
import sys
from pathlib import Path

from holdfast import SqliteIdempotency, idempotent_operation
from holdfast.errors import HoldfastError


async def main(file: Path, order: str, dollars: int) -> str:
    async def charge() -> dict[str, object]:
        print(f"charging {dollars} dollars")  # here the card is charged
        return {"order": order, "dollars": dollars}

    async with await SqliteIdempotency.open(f"sqlite:///{file}") as store:
        asked = [idempotent_operation(charge, order, store=store, payload=dollars) for _ in range(5)]
        try:
            receipts = await asyncio.gather(*asked)
        except HoldfastError as error:
            return f"{type(error).__name__}: {error}"
    return f"receipts: {receipts}"


print(asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
