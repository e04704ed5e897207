"""A fortnight of trading in half a minute: the engine that trades, on a simulated market, in front of your eyes."""
