"""BU1, BU2: budgets watched with accounts of the simulation's own, which share no code with the product's.

An account here has two books. What the process knows: every attempt at its cost once it is over, and until then at the most
that its provider could bill. And what the ledger must have: attempts of requests that ended, and the bounds of those that
a crash left open. A new process begins with the second.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.policy_monitors import PolicyMonitor
from tests.simulation.providers import PRICES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.simulation.draw import Ask
    from tests.simulation.stories import Stories
    from tests.simulation.trace import Accepted, Attempted, Died, Ended, Phase, Recovered, Sent

    from holdfast.ledger.entry import Charge

__all__ = ["Purses"]

_S: Final = 10**9
_DAY: Final = 86_400 * _S
_FOR_EVER: Final = 1 << 62


def _counts_until(window: str, now_ns: int) -> int:
    """From when on what is spent now doesn't count any more."""
    match window:
        case "hour":  # in parts of a second, each as long as any of it counts
            return now_ns // _S * _S + _S + 3600 * _S
        case "day":
            return now_ns // _DAY * _DAY + _DAY
        case "month":
            first = datetime.fromtimestamp(now_ns // _S, UTC).replace(day=1, hour=0, minute=0, second=0)
            return int((first + timedelta(days=31)).replace(day=1).timestamp()) * _S
        case "session":
            return now_ns // _DAY * _DAY + 33 * _DAY
    return _FOR_EVER


def _subject(rule: Mapping[str, Any], ask: Ask) -> str | None:
    match rule["scope"]:
        case "key":
            return ask.key
        case "session":
            return None if ask.session is None else f"{ask.key}/{ask.session}"
        case "team":
            return ask.team
        case "model":
            return "chat"
        case "tag":
            return ask.project
    return ""


class _Account:
    """One budget for one subject."""

    def __init__(self, key: str, rule: Mapping[str, Any]) -> None:
        self.key = key
        self.window: str = rule["window"]
        self.hard: bool = rule["hard"]
        self.in_usd = "limit_nano" in rule
        self.limit: int = rule["limit_nano"] if self.in_usd else rule["limit_tokens"]
        self.under_way = 0
        """The most that the attempts which are under way could be billed."""
        self.ended: Counter[int] = Counter()
        """Of requests that ended, by when it leaves the window; what the ledger must have."""
        self.bounds: dict[int, tuple[int, int]] = {}
        """Of requests that were given up: until when, and how much."""
        self.open: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        """What attempts of open requests cost so far."""
        self._spent: deque[tuple[int, int]] = deque()
        self._total = 0

    def of(self, nano: int | None, tokens: int | None) -> int:
        return (nano if self.in_usd else tokens) or 0

    def charge(self, n: int, amount: int, now_ns: int) -> None:
        until_ns = _counts_until(self.window, now_ns)
        self.open[n].append((until_ns, amount))
        self._spent.append((until_ns, amount))
        self._total += amount

    def spent(self, now_ns: int) -> int:
        while self._spent and self._spent[0][0] <= now_ns:
            self._total -= self._spent.popleft()[1]
        return self._total

    def end(self, n: int) -> None:
        self.bounds.pop(n, None)
        for until_ns, amount in self.open.pop(n, ()):
            self.ended[until_ns] += amount

    def in_ledger(self, now_ns: int) -> list[tuple[int, int]]:
        """What still counts of it."""
        amounts = [*self.ended.items(), *self.bounds.values()]
        return sorted(each for each in amounts if each[0] > now_ns)

    def begin_anew(self, now_ns: int) -> None:
        """A new process knows what the ledger has, and nothing is under way."""
        self.open.clear()
        self.under_way = 0
        self._spent = deque(self.in_ledger(now_ns))
        self._total = sum(amount for _, amount in self._spent)


class Purses(PolicyMonitor):
    """BU1: what was spent and may be billed yet is within every hard limit. BU2: ledger = memory = what was charged."""

    promise = "BU1"
    policy = "budgets"

    def __init__(self, stories: Stories) -> None:
        super().__init__(stories)
        self.accounts: dict[str, _Account] = {}
        self._of: dict[int, tuple[_Account, ...]] = {}
        self._under_way: dict[tuple[int, str], tuple[int, int]] = {}
        """Attempts: the most that each could be billed, by request and target."""
        self._dead: set[int] = set()
        self._well = False

    def on_accepted(self, event: Accepted) -> None:
        self._look(event.at, event.n)

    def on_sent(self, event: Sent) -> None:
        if event.n in self._dead:
            return
        most = next(
            each.most for each in self.stories.served(event.n, event.provider) if each.nonce == event.nonce
        )
        self._under_way[event.n, event.provider] = most
        for account in self._accounts(event.n):
            account.under_way += account.of(*most)
        self._look(event.at, event.n)

    def on_attempted(self, event: Attempted) -> None:
        if event.n in self._dead:
            return
        now_ns = self.stories.wall_ns()
        most = self._under_way.pop((event.n, event.target), (0, 0))
        tokens = self._tokens(event)
        for account in self._accounts(event.n):
            account.under_way -= account.of(*most)
            if amount := account.of(event.cost_nano, tokens):
                account.charge(event.n, amount, now_ns)
        self._look(event.at, event.n)

    def on_ended(self, event: Ended) -> None:
        if event.n in self._dead:
            return
        for account in self._accounts(event.n):
            account.end(event.n)
        self._look(event.at, event.n)

    def on_recovered(self, event: Recovered) -> None:
        """A crash loses nothing: the bound covers what was spent, and what may still be billed."""
        bound = (event.bound_nano, event.bound_tokens)
        until = {key: _FOR_EVER if at is None else at for key, at in event.accounts}
        accounts = self._accounts(event.n)
        if until.keys() != {account.key for account in accounts}:
            self.fail(event.at, event.n, f"its bound counts in {sorted(until)}", promise="BU2")
            return
        for account in accounts:
            amount = account.of(*bound)
            most = sum(each for _, each in account.open.get(event.n, ()))
            most += sum(
                account.of(*self._under_way[place]) for place in self._under_way if place[0] == event.n
            )
            if amount < most:
                self.fail(event.at, event.n, f"{account.key} is charged {amount}, and may be billed {most}")
            account.bounds[event.n] = (until[account.key], amount)
        if event.dead:
            self._dead.add(event.n)

    def on_died(self, event: Died) -> None:
        if not event.dead:
            return
        now_ns = self.stories.wall_ns()
        self._under_way.clear()
        for account in self.accounts.values():
            account.begin_anew(now_ns)

    def on_phase(self, event: Phase) -> None:
        if event.name == "healed":  # every limit was raised
            self._well = True

    def at_the_end(self, at: float, spending: Iterable[Charge]) -> None:
        """Nothing is under way: nothing is reserved, and memory, ledger and the sums here are one."""
        now_ns = self.stories.wall_ns()
        told: Counter[str] = Counter()
        for charge in spending:
            told[charge.account] += charge.amount
            if charge.amount < 0:
                self.fail(at, -1, f"the ledger has {charge.amount} in {charge.account}", promise="BU2")
        budgets = self.stories.budgets()
        reserved = {account.key: account.reserved for account in budgets if account.reserved}
        if reserved:
            self.fail(at, -1, f"reserved, and nothing runs: {reserved}")
        if budgets.overruns:
            self.fail(at, -1, f"{budgets.overruns} bills above their bound")
        in_memory = {account.key: account.spent(now_ns) for account in budgets}
        for key, account in self.accounts.items():
            mine = sum(amount for _, amount in account.in_ledger(now_ns))
            if told[key] != mine:
                self.fail(at, -1, f"{key}: the ledger has {told[key]}, {mine} was charged", promise="BU2")
            if in_memory.get(key, mine) != mine:
                self.fail(at, -1, f"{key}: {in_memory[key]} in memory, {mine} was charged", promise="BU2")

    def _look(self, at: float, n: int) -> None:
        """What the product says of itself, and what is so."""
        now_ns = self.stories.wall_ns()
        theirs = self.stories.budgets()._accounts
        for account in self._accounts(n):
            spent = account.spent(now_ns)
            if account.hard and not self._well and spent + account.under_way > account.limit:
                what = f"{spent} spent and {account.under_way} under way; the limit is {account.limit}"
                self.fail(at, n, f"{account.key}: {what}")
            their = theirs.get(account.key)
            if their is None:
                continue
            if their.spent(now_ns) != spent:
                self.fail(
                    at,
                    n,
                    f"{account.key}: {their.spent(now_ns)} in memory, {spent} was charged",
                    promise="BU2",
                )
            if their.reserved < account.under_way:
                self.fail(at, n, f"{account.key}: {their.reserved} reserved, {account.under_way} under way")
            if account.hard and not self._well and spent + their.reserved > account.limit:
                what = f"{spent} spent, {their.reserved} reserved; the limit is {account.limit}"
                self.fail(at, n, f"{account.key}: {what}")

    def _accounts(self, n: int) -> tuple[_Account, ...]:
        """Those that the request is counted in."""
        found = self._of.get(n)
        if found is None:
            found = self._of[n] = tuple(self._find(self.story(n).ask))
        return found

    def _find(self, ask: Ask) -> Iterable[_Account]:
        for rule in self.settings["rules"]:
            subject = _subject(rule, ask)
            if subject is None:
                continue
            unit = "usd" if "limit_nano" in rule else "tokens"
            key = f"{rule['name']}:{unit}:{rule['window']}:{subject}"
            account = self.accounts.get(key)
            if account is None:
                account = self.accounts[key] = _Account(key, rule)
            yield account

    def _tokens(self, event: Attempted) -> int:
        """What an attempt is charged in tokens: as told, or of its bound, which has a price for each of them."""
        served = self.stories.served(event.n, event.target)
        if not event.cost_nano or not served:
            return 0
        last = served[-1]  # one after the other: only other targets are asked meanwhile
        if event.billed == "provider":
            return sum(last.usage or ())
        given, made = PRICES[event.target]
        output = last.max_tokens
        return (event.cost_nano - output * made) // given + output
