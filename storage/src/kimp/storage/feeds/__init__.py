"""From the wire to the domain and nothing else: venues' messages in, books, trades and rates out.

Everything that decides is free of input and output and is told the time, so that a recording runs through exactly the
code that runs live::

    FeedSocket ─┐                            ┌─ Book, Touch, PublicTrade, MarkPrice, Candle, Ticker, FxQuote
    Fetcher    ─┼─► Frame ─► FeedReader ─────┤
    a recording ┘      (Decoder + Watchdog)  └─ FeedLost, FeedBack, Refused
"""
