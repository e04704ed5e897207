"""Judges by the venues' own books, with arithmetic of its own: nothing here shares code with the engine it judges.

``always`` holds at every moment, also right after a kill; ``at_rest`` once everything had time to heal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crash.journal_facts import JournalFacts

ZERO = Decimal(0)
LOT = Decimal("0.001")
"""Of the coarser venue: as finely as the legs can be hedged."""

DUST = 2 * Decimal(5_000) / Decimal(130_000_000)
"""Coins no venue would trade: twice Upbit's minimum at the market's price, because prices move while they lie."""

EIGHT = Decimal("0.00000001")
"""Binance books realised profit in eight decimals."""

ROUNDING = Decimal("0.00002")
"""Of a pair's turnover: what valuing fees and cash at one rate may be off by."""

STOP_NS_MAX = 500_000_000
"""An entry decided this soon after the switch was turned may still be on its way; nothing later is."""

SPOT, CONTRACT = "upbit:KRW-BTC", "binance:BTCUSDT"
Facts = dict[str, Any]
Complaint = tuple[str, str]


@dataclass(slots=True)
class Pair:
    """What the venues' trades made of one signal."""

    coins: Decimal = ZERO
    contracts: Decimal = ZERO
    won: Decimal = ZERO
    dollars: Decimal = ZERO
    turnover: Decimal = ZERO
    last_price: Decimal = ZERO
    is_labelled: bool = False
    naked_since: int | None = None
    naked_ns: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Judge:
    """Holds a journal against the venues. ``acts`` are the switch's real turns: when, and whether entries were allowed."""

    journal: JournalFacts
    acts: list[tuple[int, bool]] = field(default_factory=list)

    def always(self, books: Facts) -> list[Complaint]:
        """What must hold whenever one looks, also in the middle of everything."""
        return [
            *self.journal.complaints,
            *self._orders(books),
            *self._invented(books),
            *self._ends(books),
            *self._after_stop(),
        ]

    def at_rest(self, books: Facts) -> list[Complaint]:
        """What must hold once nothing is under way."""
        return [
            *self.always(books),
            *self._unresolved(books),
            *self._lost_fills(books),
            *self._unbalanced(books),
            *self._unhedged(books),
            *self._losses(books),
        ]

    # -- always ----------------------------------------------------------------------------------------------------

    def _orders(self, books: Facts) -> Iterator[Complaint]:
        """Every order had its intent before; of one client id at most one executed."""
        executed: Counter[str] = Counter()
        for order in _orders(books):
            client_id = order["client_id"]
            intent = self.journal.intents.get(client_id)
            if intent is None:
                yield "intent", f"{client_id} reached {order['instrument_id']} without an intent in the journal"
                continue
            meant = intent.order
            if order["instrument_id"] != meant["instrument_id"] or order["side"] != meant["side"]:
                yield "intent", f"{client_id} is another order than was intended"
            if Decimal(order["quantity"]) != Decimal(meant["quantity"]):
                yield "intent", f"{client_id} asks for {order['quantity']}, intended were {meant['quantity']}"
            if order["at"] < intent.at:
                yield "intent", f"{client_id} was taken before it was intended"
            executed[client_id] += bool(order["fills"])
        for client_id, times in executed.items():
            if times > 1:
                yield "exactly_once", f"{client_id} executed {times} times"

    def _invented(self, books: Facts) -> Iterator[Complaint]:
        """Every fill in the journal is one of the venue's, figure by figure."""
        theirs = _fills(books)
        for key, booked in self.journal.fills.items():
            fill, found = booked["fill"], theirs.get(key)
            if found is None:
                yield "invented", f"trade {key} is in the journal and not at the venue"
            elif _figures(fill) != _figures(found):
                yield "invented", f"trade {key} is {_figures(found)} at the venue and {_figures(fill)} in the journal"

    def _ends(self, books: Facts) -> Iterator[Complaint]:
        """What the journal takes for the end of an order is its end."""
        theirs: defaultdict[str, list[Facts]] = defaultdict(list)
        for order in _orders(books):
            theirs[order["client_id"]].append(order)
        for client_id, intent in self.journal.intents.items():
            found = theirs.get(client_id, [])
            executed = sum((Decimal(order["executed"]) for order in found), ZERO)
            if client_id in self.journal.given_up and found:
                # Nothing here arrives as late as that; if it were found again later, it was still a guess.
                yield "no_guess", f"{client_id} was given up, and the venue has it"
            if intent.closed is not None and intent.closed != executed:
                yield "no_guess", f"{client_id} closed at {intent.closed}, the venue executed {executed}"
            if intent.closed is not None and any(not order["is_done"] for order in found):
                yield "no_guess", f"{client_id} is closed in the journal and working at the venue"
            if "rejected" in intent.answers and intent.closed is None and executed:
                yield "no_guess", f"{client_id} counts as refused, and {executed} executed"

    def _after_stop(self) -> Iterator[Complaint]:
        """By the killer's own notes of when it turned the switch, whatever the journal says."""
        for plan in self.journal.plans:
            if plan["action"] != "enter":
                continue
            before = [is_active for at, is_active in self.acts if at + STOP_NS_MAX < plan["decided_at"]]
            later = [is_active for at, is_active in self.acts if abs(plan["decided_at"] - at) <= STOP_NS_MAX]
            if before and not before[-1] and not any(later):
                yield "stop", f"{plan['signal_id']} was entered while the switch was off"

    # -- at rest ---------------------------------------------------------------------------------------------------

    def _unresolved(self, books: Facts) -> Iterator[Complaint]:
        for client_id in self.journal.unsettled():
            yield "unresolved", f"nobody knows what became of {client_id}"
        if self.journal.phase not in ("flat", "open"):
            yield "unresolved", f"stuck {self.journal.phase}"
        for order in _orders(books):
            if not order["is_done"]:
                yield "unresolved", f"{order['client_id']} still rests"

    def _lost_fills(self, books: Facts) -> Iterator[Complaint]:
        for key, fill in _fills(books).items():
            if key not in self.journal.fills:
                yield "lost_fill", f"trade {key} of {fill['client_id']} is not in the journal"
            elif self.journal.fills[key]["purpose"] == "foreign":
                yield "foreign", f"trade {key} of {fill['client_id']} is booked as somebody else's"
        booked = {payment["payment"]["at"] for payment in self.journal.funding.values()}
        for payment in books["venues"]["binance"]["income"]:
            if payment["at"] not in booked:
                yield "lost_funding", f"the settlement at {payment['at']} is not in the journal"

    def _unbalanced(self, books: Facts) -> Iterator[Complaint]:
        """Balances from nothing but the journal's transfers, fills and funding, to the last digit."""
        wallets: defaultdict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO, self.journal.funds)
        held = cash = ZERO
        for booked in self.journal.fills.values():
            fill = booked["fill"]
            venue = fill["instrument_id"].split(":")[0]
            signed, price = _signed(fill), Decimal(fill["price"])
            wallets[venue, fill["fee"]["asset"]] -= Decimal(fill["fee"]["value"])
            if fill["instrument_id"] == SPOT:
                wallets["upbit", "BTC"] += signed
                wallets["upbit", "KRW"] -= signed * price
            else:
                profit = _realised(held, cash, signed, price)
                wallets["binance", "USDT"] += profit
                held, cash = held + signed, cash - signed * price - profit
        for booked in self.journal.funding.values():
            amount = booked["payment"]["amount"]
            wallets["binance", amount["asset"]] += Decimal(amount["value"])
        for venue, theirs in books["venues"].items():
            for asset in sorted({a for v, a in wallets if v == venue} | set(theirs["balances"])):
                ours, real = wallets[venue, asset], Decimal(theirs["balances"].get(asset, 0))
                if ours != real:
                    yield "conservation", f"{venue} holds {real} {asset}, the journal adds up to {ours}"
        real = Decimal(books["venues"]["binance"]["contracts"].get("BTCUSDT", 0))
        if real != held:
            yield "conservation", f"binance holds {real} contracts, the journal adds up to {held}"

    def _unhedged(self, books: Facts) -> Iterator[Complaint]:
        for signal_id, pair in self.pairs(books).items():
            allowed = LOT if pair.contracts else DUST
            if abs(pair.coins + pair.contracts) >= allowed:
                yield "hedged", f"{signal_id} holds {pair.coins} coins and {pair.contracts} contracts"
        open_ones = [signal_id for signal_id, pair in self.pairs(books).items() if pair.contracts]
        if len(open_ones) > 1:
            yield "one_position", f"open at once: {open_ones}"

    def _losses(self, books: Facts) -> Iterator[Complaint]:
        """Pairs that are over and below zero although nothing that may realise a loss ever happened to them."""
        rate, decided = self._exits()
        paid: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        amounts = {row["at"]: Decimal(row["amount"]["value"]) for row in books["venues"]["binance"]["income"]}
        for booked in self.journal.funding.values():
            if booked["at"] <= decided.get(booked["signal_id"], 0):
                paid[booked["signal_id"]] += amounts.get(booked["payment"]["at"], ZERO)
        for signal_id, pair in self.pairs(books).items():
            if pair.is_labelled or pair.contracts or abs(pair.coins) >= DUST or signal_id not in decided:
                continue
            dollars = pair.dollars + paid[signal_id]
            net = pair.won + dollars * rate[signal_id] + pair.coins * pair.last_price
            if net < -ROUNDING * pair.turnover:
                yield "no_loss", f"{signal_id} was closed at {net:.0f} KRW"

    def _exits(self) -> tuple[dict[str, Decimal], dict[str, int]]:
        """Of each pair the rate and the time of the last decision to leave it."""
        pair_of = {intent.plan: intent.signal_id for intent in self.journal.intents.values()}
        exits = [plan for plan in self.journal.plans if plan["action"] == "exit" and plan["signal_id"] in pair_of]
        rate = {pair_of[plan["signal_id"]]: Decimal(plan["krw_rate"]) for plan in exits}
        return rate, {pair_of[plan["signal_id"]]: plan["decided_at"] for plan in exits}

    # -- figures ---------------------------------------------------------------------------------------------------

    def pairs(self, books: Facts) -> dict[str, Pair]:
        """What each signal really traded, by the venues' fills in their order."""
        pairs: dict[str, Pair] = {}
        for fill in sorted(_fills(books).values(), key=lambda fill: (fill["at"], fill["trade_id"])):
            intent = self.journal.intents.get(fill["client_id"])
            pair = pairs.setdefault("foreign" if intent is None else intent.signal_id, Pair())
            pair.is_labelled |= intent is None or intent.purpose not in ("enter", "exit")
            _take(pair, fill)
        return pairs

    def naked_ns(self, books: Facts) -> list[int]:
        """Every stretch of time in which a pair was unhedged by a lot or more, by the venues' clock."""
        return [stretch for pair in self.pairs(books).values() for stretch in pair.naked_ns]


def _take(pair: Pair, fill: Facts) -> None:
    signed, price = _signed(fill), Decimal(fill["price"])
    fee = Decimal(fill["fee"]["value"])
    if fill["instrument_id"] == SPOT:
        pair.coins += signed
        pair.won -= signed * price + fee
        pair.turnover += abs(signed * price)
        pair.last_price = price
    else:
        pair.contracts += signed
        pair.dollars -= signed * price + fee
    is_naked = abs(pair.coins + pair.contracts) >= LOT
    if is_naked and pair.naked_since is None:
        pair.naked_since = fill["at"]
    elif not is_naked and pair.naked_since is not None:
        pair.naked_ns.append(fill["at"] - pair.naked_since)
        pair.naked_since = None


def _realised(held: Decimal, cash: Decimal, signed: Decimal, price: Decimal) -> Decimal:
    """What closing turns into wallet balance at average cost; the last piece takes the whole remainder along."""
    if held * signed >= 0:
        return ZERO
    if abs(signed) > abs(held):
        return cash + (-signed * price * -held / signed).quantize(EIGHT)
    cost = cash if signed == -held else (cash * -signed / held).quantize(EIGHT)
    return cost - signed * price


def _orders(books: Facts) -> Iterator[Facts]:
    for venue in books["venues"].values():
        yield from venue["orders"]


def _fills(books: Facts) -> dict[tuple[str, str], Facts]:
    return {
        (fill["instrument_id"], fill["trade_id"]): fill | {"client_id": order["client_id"]}
        for order in _orders(books)
        for fill in order["fills"]
    }


def _signed(fill: Facts) -> Decimal:
    return Decimal(fill["quantity"]) * (1 if fill["side"] == "buy" else -1)


def _figures(fill: Facts) -> tuple[object, ...]:
    fee = fill["fee"]
    return (
        fill["client_id"],
        fill["side"],
        Decimal(fill["quantity"]),
        Decimal(fill["price"]),
        (Decimal(fee["value"]), fee["asset"]),
    )
