"""The trading engine and everything that can touch money or operators."""
