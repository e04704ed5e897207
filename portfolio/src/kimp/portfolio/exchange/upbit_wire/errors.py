"""Upbit's refusals as they stand on the wire: status, name and message.

Upbit, "REST API 사용 및 에러 안내", "API 주요 에러 코드 목록", "호가 정책 조회 기능 추가" (2025-07-31)::

    401 {"error":{"name":"invalid_access_key","message":"잘못된 엑세스 키입니다."}}
    400 {"error":{"name":"invalid_price_bid","message":"주문가격 단위를 잘못 입력하셨습니다. 확인 후 시도해주세요."}}
    404 {"error":{"name":404,"message":"Code not found"}}

Its current guide answers 403 where a key's permissions or its IP list forbid something; older editions list the same
names under 401, so a client should go by the name.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kimp.shared.domain.instruments import Side
from kimp.shared.domain.orders import Rejected

SIDE_NAMES = {Side.BUY: "bid", Side.SELL: "ask"}


class UpbitError(Exception):
    """Ends a request with an error body; caught by the application itself and never seen outside it."""

    def __init__(self, status: int, name: str | int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {name}")
        self.status = status
        self.name = name
        self.message = message
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The JSON a client reads."""
        return msgspec.json.encode({"error": {"name": self.name, "message": self.message}})


_KNOWN: dict[str, tuple[int, str]] = {
    "validation_error": (400, "잘못된 API 요청입니다."),
    "invalid_parameter": (400, "잘못된 파라미터입니다."),
    "invalid_query_payload": (401, "Jwt의 query를 검증하는데 실패하였습니다."),
    "jwt_verification": (401, "Jwt 토큰 검증에 실패했습니다."),
    "invalid_access_key": (401, "잘못된 엑세스 키입니다."),
    "expired_access_key": (401, "만료된 API 키입니다."),
    "nonce_used": (401, "이미 사용된 nonce입니다."),
    "no_authorization_token": (401, "인증 토큰이 존재하지 않습니다."),
    "no_authorization_ip": (403, "This is not a verified IP."),
    "out_of_scope": (403, "권한이 부족합니다."),
    "order_not_found": (404, "주문을 찾지 못했습니다."),
    "market_offline": (400, "해당 마켓은 현재 거래가 중단되었습니다."),
    "notfoundmarket": (400, "마켓을 찾을 수 없습니다."),
    "identifier_already_used": (400, "이미 사용된 identifier입니다."),
}
"""Name → status and message. Upbit documents that an identifier given twice is an error but not that error's name."""


def known(name: str) -> UpbitError:
    """One of the errors that do not depend on an order's side."""
    status, message = _KNOWN[name]
    return UpbitError(status, name, message)


def invalid(message: str) -> UpbitError:
    """A request that lacks something or says something impossible: ``validation_error`` with its reason."""
    return UpbitError(400, "validation_error", message)


def code_not_found() -> UpbitError:
    """The quotation API's answer to a market it does not know; its name is a number."""
    return UpbitError(404, 404, "Code not found")


def refused(rejected: Rejected, side: Side, quote: str, base: str) -> UpbitError:
    """What Upbit says where the virtual venue refused an order."""
    word = SIDE_NAMES[side]
    match rejected.code:
        case "insufficient_funds":
            asset = quote if side is Side.BUY else base
            return UpbitError(400, f"insufficient_funds_{word}", f"주문가능한 금액({asset})이 부족합니다.")
        case "below_minimum":
            return UpbitError(400, f"under_min_total_{word}", "최소주문금액 이상으로 주문해주세요.")
        case "invalid_price":
            return UpbitError(
                400, f"invalid_price_{word}", "주문가격 단위를 잘못 입력하셨습니다. 확인 후 시도해주세요."
            )
        case "invalid_lot":
            return UpbitError(
                400, f"invalid_volume_{word}", "주문수량 단위를 잘못 입력하셨습니다. 확인 후 시도해주세요."
            )
        case "duplicate_client_id":
            return known("identifier_already_used")
        case "invalid_symbol":
            return known("notfoundmarket")
        case "no_market":
            return known("market_offline")
        case "order_not_found":
            return known("order_not_found")
        case "maintenance":
            return maintenance()
        case _:
            return UpbitError(400, f"create_{word}_error", "주문 요청 정보가 올바르지 않습니다.")


def maintenance() -> UpbitError:
    """What every endpoint answers while the venue is being worked on."""
    return UpbitError(503, "service_unavailable", "서버 점검 중입니다. 잠시 후 다시 시도해주세요.")


def too_many_requests() -> UpbitError:
    """More requests in this second than the group allows; the request was not carried out."""
    return UpbitError(429, "too_many_requests", "요청 수 제한을 초과했습니다.")


def blocked(seconds: int) -> UpbitError:
    """Blocked for going on after 429; the answer says for how many seconds."""
    message = f"과도한 요청으로 요청이 제한되었습니다. {seconds}초 후에 다시 시도해주세요."
    return UpbitError(418, "too_many_requests", message, {"Retry-After": str(seconds)})
