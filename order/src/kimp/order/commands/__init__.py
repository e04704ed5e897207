"""The commands by which the owner asks and orders: one module each, and what they share."""
