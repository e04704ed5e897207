"""When funding is due on the virtual exchange, and at which rate: the last one known before its moment."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kimp.portfolio.exchange.batch import Batch
from kimp.portfolio.exchange.facts import FundingBooked, RateNoted
from kimp.portfolio.exchange.happenings import FundingSettled
from kimp.research.simulation.arrivals import paid
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.funding import FundingPayment, FundingRate
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.time import Nanos

SETTLEMENTS_MAX = 1_000
"""Settlements caught up with in one step, most of a year of them; a longer silence is a recording with a hole in it."""


class Fundings:
    """The rates known, and what was settled already: no settlement is booked twice, however late its rate comes."""

    def __init__(self, simulated: SimulatedVenue) -> None:
        self._simulated = simulated
        self.rates: dict[InstrumentId, FundingRate] = {}
        self.settled: dict[InstrumentId, Nanos] = {}

    def note(self, rates: Iterable[FundingRate], batch: Batch) -> None:
        """Remember the newest rate of each contract, and the first of each settlement also in the diary.

        One that is settled says nothing any more, nor does one first heard after its moment: around a settlement the
        stream still names the old one for a while, and a position opened since has no part in it.
        """
        for rate in rates:
            id_ = rate.instrument_id
            known = self.rates.get(id_)
            is_open = rate.at <= rate.settles_at and rate.settles_at > self.settled.get(id_, 0)
            if not is_open or id_ not in self._simulated.contracts:
                continue
            if known is not None and known.settles_at < rate.settles_at and known.settles_at <= batch.at:
                self.settle(batch.at, batch)
            if known is None or known.settles_at != rate.settles_at:
                batch.facts.append(RateNoted(rate))
            self.rates[id_] = rate

    def settle(self, until: Nanos, batch: Batch) -> None:
        """Settle everything that is due by then, each at its own moment: a positive rate takes from longs."""
        for id_, rate in list(self.rates.items()):
            known = rate
            for _ in range(SETTLEMENTS_MAX):
                if known.settles_at > until or not self._is_marked(id_):
                    break
                self._settle(known, batch)
                # The same rate holds until another is heard.
                known = msgspec.structs.replace(known, settles_at=known.settles_at + known.interval)
                self.rates[id_] = known
                batch.facts.append(RateNoted(known))

    def remember(self, payment: FundingPayment) -> None:
        """A settlement from before a restart."""
        self.settled[payment.instrument_id] = payment.at
        self._simulated.receive(payment)

    def remember_rate(self, rate: FundingRate) -> None:
        """A settlement to come that was heard of before a restart; it may have come due since."""
        self.rates[rate.instrument_id] = rate

    def _settle(self, rate: FundingRate, batch: Batch) -> None:
        id_, at = rate.instrument_id, rate.settles_at
        self.settled[id_] = at
        payment = self._simulated.settle_funding(id_, rate.rate, at)
        if payment is None:
            return
        batch.facts.append(FundingBooked(payment))
        batch.happenings.append(FundingSettled(payment, rate, batch.at))
        batch.news.append(paid(payment))
        batch.touch("funding", payment.amount.asset)

    def _is_marked(self, instrument_id: InstrumentId) -> bool:
        try:
            self._simulated.mark(instrument_id)
        except KeyError:
            return False
        return True
