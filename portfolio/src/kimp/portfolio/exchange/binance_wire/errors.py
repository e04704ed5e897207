"""How Binance says no: its codes, sentences and HTTP statuses.

Binance, "Error Codes" (USDⓈ-M Futures): every error is ``{"code":-2019,"msg":"Margin is insufficient."}``, most under
HTTP 400. "General Info", HTTP Return Codes: 429 breaks a limit, 418 is banned, 403 the firewall, 5XX the venue itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from kimp.portfolio.exchange import codes
from kimp.shared.domain.orders import Rejected
from kimp.shared.domain.time import MILLISECOND, Nanos


class VenueError(msgspec.Struct, frozen=True):
    """An answer that is an error: code, sentence and the HTTP status it comes under."""

    code: int
    message: str
    status: int = 400

    def about(self, *names: str | int) -> VenueError:
        """The same error with its blanks filled."""
        return msgspec.structs.replace(self, message=self.message.format(*names))

    def response(self, headers: Mapping[str, str] | None = None) -> web.Response:
        """The venue's JSON body under its status."""
        body = msgspec.json.encode({"code": self.code, "msg": self.message})
        return web.Response(status=self.status, body=body, content_type="application/json", headers=headers)


class Refusal(Exception):
    """Raised by whoever finds the reason and answered at the edge; ``retry_after_s`` says how long to stay away."""

    def __init__(self, error: VenueError, retry_after_s: int | None = None) -> None:
        super().__init__(f"{error.code} {error.message}")
        self.error = error
        self.retry_after_s = retry_after_s


# 10xx: server, network, limits
TOO_MANY_REQUESTS = VenueError(
    -1003,
    "Too many requests; current limit is {} requests per minute. Please use the websocket for live updates to avoid "
    "polling the API.",
    429,
)
BANNED = VenueError(
    -1003,
    "Way too many requests; IP banned until {}. Please use the websocket for live updates to avoid bans.",
    418,
)
TOO_MANY_ORDERS = VenueError(-1015, "Too many new orders; current limit is {} orders per {}.", 429)
OUTSIDE_WINDOW = VenueError(-1021, "Timestamp for this request is outside of the recvWindow.")
AHEAD_OF_SERVER = VenueError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
BAD_SIGNATURE = VenueError(-1022, "Signature for this request is not valid.")
START_AFTER_END = VenueError(-1023, "Start time is greater than end time.")

# 11xx: the request
ILLEGAL_CHARACTERS = VenueError(-1100, "Illegal characters found in parameter '{}'; legal range is '{}'.")
MANDATORY = VenueError(-1102, "Mandatory parameter '{}' was not sent, was empty/null, or malformed.")
EITHER_MANDATORY = VenueError(-1102, "Param '{}' or '{}' must be sent, but both were empty/null!")
EMPTY = VenueError(-1105, "Parameter '{}' was empty.")
NOT_REQUIRED = VenueError(-1106, "Parameter '{}' sent when not required.")
BAD_PRECISION = VenueError(-1111, "Precision is over the maximum defined for this asset.")
BAD_TIME_IN_FORCE = VenueError(-1115, "Invalid timeInForce.")
BAD_ORDER_TYPE = VenueError(-1116, "Invalid orderType.")
BAD_SIDE = VenueError(-1117, "Invalid side.")
BAD_INTERVAL = VenueError(-1120, "Invalid interval.")
BAD_SYMBOL = VenueError(-1121, "Invalid symbol.")
BAD_RESPONSE_TYPE = VenueError(-1136, "Invalid newOrderRespType.")
NO_LISTEN_KEY = VenueError(-1125, "This listenKey does not exist.")
NOT_VALID = VenueError(-1130, "Data sent for parameter '{}' is not valid.")

# 20xx: processing
REJECTED = VenueError(-2010, "{}")
UNKNOWN_ORDER = VenueError(-2011, "Unknown order sent.")
NO_SUCH_ORDER = VenueError(-2013, "Order does not exist.")
BAD_KEY_FORMAT = VenueError(-2014, "API-key format invalid.", 401)
BAD_KEY = VenueError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
NO_MARGIN = VenueError(-2019, "Margin is insufficient.")
REDUCE_ONLY = VenueError(-2022, "ReduceOnly Order is rejected.")
LEVERAGE_TOO_SMALL = VenueError(-2028, "Leverage is smaller than permitted: insufficient margin balance.")

# 40xx: filters and the account's settings
PRICE_TOO_LOW = VenueError(-4001, "Price less than 0.")
PRICE_OVER_MAX = VenueError(-4002, "Price greater than max price.")
QUANTITY_TOO_LOW = VenueError(-4003, "Quantity less than or equal to zero.")
QUANTITY_BELOW_MIN = VenueError(-4004, "Quantity less than min quantity.")
QUANTITY_OVER_MAX = VenueError(-4005, "Quantity greater than max quantity.")
PRICE_OFF_TICK = VenueError(-4014, "Price not increased by tick size.")
BAD_CLIENT_ID = VenueError(-4015, "Client order id is not valid.")
QUANTITY_OFF_STEP = VenueError(-4023, "Quantity not increased by step size.")
PRICE_TOO_HIGH_NOW = VenueError(-4016, "Limit price can't be higher than {}.")
PRICE_TOO_LOW_NOW = VenueError(-4024, "Limit price can't be lower than {}.")
BAD_DEPTH_LIMIT = VenueError(-4021, "'{}' is not valid depth limit")
BAD_LEVERAGE = VenueError(-4028, "Leverage {} is not valid")
SAME_MARGIN_TYPE = VenueError(-4046, "No need to change margin type.")
MARGIN_TYPE_WITH_ORDERS = VenueError(-4047, "Margin type cannot be changed if there exists open orders.")
MARGIN_TYPE_WITH_POSITION = VenueError(-4048, "Margin type cannot be changed if there exists position.")
SAME_POSITION_SIDE = VenueError(-4059, "No need to change position side.")
WRONG_POSITION_SIDE = VenueError(-4061, "Order's position side does not match user's setting.")
POSITION_SIDE_WITH_ORDERS = VenueError(-4067, "Position side cannot be changed if there exists open orders.")
POSITION_SIDE_WITH_POSITION = VenueError(-4068, "Position side cannot be changed if there exists position.")
DUPLICATE_CLIENT_ID = VenueError(-4116, "ClientOrderId is duplicated.")
ALGO_ORDER = VenueError(
    -4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead."
)
NO_BEST_PRICE = VenueError(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")
NOTIONAL_TOO_LOW = VenueError(-4164, "Order's notional must be no smaller than {} (unless you choose reduce only).")
INTERVAL_TOO_LONG = VenueError(-4165, "Invalid time interval: maximum time interval is {} days.")

# 50xx: executing
NOT_FILLED_AT_ONCE = VenueError(
    -5021, "Due to the order could not be filled immediately, the FOK order has been rejected."
)
NOT_A_MAKER = VenueError(
    -5022, "Due to the order could not be executed as maker, the Post Only order will be rejected."
)

UNKNOWN_OUTCOME = "Unknown error, please check your request or try again later."
"""HTTP 503 with this sentence: "the execution status is UNKNOWN and could have been a success"."""

UNAVAILABLE = "Service Unavailable."
"""HTTP 503 with this one: "this is a failure API operation … retry later"."""

UNEXPECTED_RESPONSE = VenueError(
    -1006, "An unexpected response was received from the message bus. Execution status unknown.", 503
)
BACKEND_TIMEOUT = VenueError(
    -1007,
    "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    408,
)

REFUSALS = {
    codes.INVALID_SYMBOL: BAD_SYMBOL,
    codes.NO_MARKET: NO_BEST_PRICE,
    codes.DUPLICATE_CLIENT_ID: DUPLICATE_CLIENT_ID,
    codes.INVALID_CLIENT_ID: BAD_CLIENT_ID,
    codes.INVALID_PARAMETER: BAD_ORDER_TYPE,
    codes.INVALID_PRICE: PRICE_OFF_TICK,
    codes.INVALID_LOT: QUANTITY_OFF_STEP,
    codes.BELOW_MINIMUM: NOTIONAL_TOO_LOW.about("the symbol's minimum"),
    codes.INSUFFICIENT_FUNDS: NO_MARGIN,
    codes.REDUCE_ONLY: REDUCE_ONLY,
    codes.NOT_A_MAKER: NOT_A_MAKER,
    codes.ORDER_NOT_FOUND: UNKNOWN_ORDER,
    codes.ORDER_DONE: UNKNOWN_ORDER,
    codes.LEVERAGE_TOO_LOW: LEVERAGE_TOO_SMALL,
    codes.MODE_IN_USE: POSITION_SIDE_WITH_POSITION,
    codes.ALREADY_SO: SAME_POSITION_SIDE,
}
"""The virtual exchange's own words for what this venue says with a number."""


def refusal(rejected: Rejected) -> VenueError:
    """The venue's word for a rejection; one it has no number for is ``-2010`` (NEW_ORDER_REJECTED) with the reason."""
    return REFUSALS.get(rejected.code) or REJECTED.about(rejected.reason)


def gateway_body(path: str, at: Nanos, message: str) -> bytes:
    """A 503 comes from the gateway and has no code: ``{"timestamp":1609300986882,"path":"/fapi/v1/order","msg":"…"}``."""
    return msgspec.json.encode({"timestamp": at // MILLISECOND, "path": path, "msg": message})
