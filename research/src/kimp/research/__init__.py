"""Strategies, simulation and backtests on the engine that trades."""
