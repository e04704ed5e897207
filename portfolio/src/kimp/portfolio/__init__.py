"""Virtual exchange, paper trading, analysis, reports and the demo."""
