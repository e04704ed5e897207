"""What ``order_latency.py`` consists of."""
