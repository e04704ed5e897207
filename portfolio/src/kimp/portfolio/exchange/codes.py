"""Every reason the virtual exchange refuses with: ``Rejected.code`` is one of these, whichever venue it plays.

The wire layers turn them into the venues' own error bodies, so a code that is missing there is a bug.
"""

INVALID_SYMBOL = "invalid_symbol"
"""The instrument is not traded here."""

MAINTENANCE = "maintenance"
"""The venue is in maintenance: nothing is taken and nothing trades."""

NO_MARKET = "no_market"
"""The instrument has no book yet."""

DUPLICATE_CLIENT_ID = "duplicate_client_id"
"""Upbit: used before, for ever. Binance: an open order has it (−4116)."""

INVALID_CLIENT_ID = "invalid_client_id"
"""Empty, or longer than 36 characters."""

INVALID_PARAMETER = "invalid_parameter"
"""Kind, price, quantity, funds and time in force do not go together, or the venue has no such order."""

INVALID_PRICE = "invalid_price"
"""Not positive, or not on the tick grid."""

INVALID_LOT = "invalid_lot"
"""Not positive, or not a multiple of the lot."""

BELOW_MINIMUM = "below_minimum"
"""Below the smallest quantity or notional."""

INSUFFICIENT_FUNDS = "insufficient_funds"
"""Not enough free: money, coins, or margin (Binance −2019)."""

REDUCE_ONLY = "-2022"
"""Binance: a reduce-only order that would open, add to or turn a position."""

NOT_A_MAKER = "-5022"
"""Binance: a post-only order that would trade at once. Upbit takes it and cancels it."""

ORDER_NOT_FOUND = "order_not_found"
"""No order has that number."""

ORDER_DONE = "order_done"
"""The order to cancel is over already."""

LEVERAGE_TOO_LOW = "-2027"
"""Binance: with that leverage the open position needs more margin than there is."""

MODE_IN_USE = "-4068"
"""Binance: the position mode cannot change while there are positions or open orders."""

ALREADY_SO = "-4059"
"""Binance: no need to change the position mode."""

DUPLICATE_TRANSFER = "duplicate_transfer"
"""A transfer of that id was booked before."""

ALL_CODES = (
    INVALID_SYMBOL, MAINTENANCE, NO_MARKET, DUPLICATE_CLIENT_ID, INVALID_CLIENT_ID, INVALID_PARAMETER, INVALID_PRICE,
    INVALID_LOT, BELOW_MINIMUM, INSUFFICIENT_FUNDS, REDUCE_ONLY, NOT_A_MAKER, ORDER_NOT_FOUND, ORDER_DONE,
    LEVERAGE_TOO_LOW, MODE_IN_USE, ALREADY_SO, DUPLICATE_TRANSFER,
)  # fmt: skip
