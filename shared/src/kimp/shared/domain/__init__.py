"""What the numbers mean: money, instruments, books, orders, positions, ledger, premium."""
