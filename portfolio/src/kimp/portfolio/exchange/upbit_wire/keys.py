"""API keys of the virtual Upbit: who may do what, from where and until when."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from kimp.shared.domain.time import Nanos


class Permission(StrEnum):
    """What a key may be allowed when it is issued (Upbit, "인증": API Key의 권한 그룹)."""

    VIEW_ASSETS = "view_assets"
    MAKE_ORDERS = "make_orders"
    VIEW_ORDERS = "view_orders"
    WITHDRAW = "withdraw"
    VIEW_WITHDRAWALS = "view_withdrawals"
    DEPOSIT = "deposit"
    VIEW_DEPOSITS = "view_deposits"


TRADING = frozenset({Permission.VIEW_ASSETS, Permission.MAKE_ORDERS, Permission.VIEW_ORDERS})
"""What trading needs; a key that may also withdraw is refused by the live mode."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key: ``allowed_ips`` of ``None`` lets everybody in, which the real venue does not offer.

    Upbit's keys live for a year at most; ``expires_at`` is the first nanosecond they are refused.
    """

    access_key: str
    secret: str = field(repr=False)
    expires_at: Nanos
    permissions: frozenset[Permission] = TRADING
    allowed_ips: frozenset[str] | None = None
