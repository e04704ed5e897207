"""The trading engine: pure and sans-I/O. Events go in, effects come out; the same code trades, backtests and storms."""
