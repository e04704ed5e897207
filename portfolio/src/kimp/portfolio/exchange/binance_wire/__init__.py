"""Binance USDT-M futures' own wire protocol on top of the virtual exchange, for any client of the real one."""
