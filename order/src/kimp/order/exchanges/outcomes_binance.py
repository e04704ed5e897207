"""What Binance's errors prove about an order. The rows are Binance's own; the types stand in ``outcomes``."""

# Place of Binance's table: BINANCE = OutcomeTable(rows=(...), refusing=frozenset({...}))
