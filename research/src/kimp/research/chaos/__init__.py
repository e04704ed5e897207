"""Storms: the engine that trades, against venues and markets that misbehave, judged by the venues' own books."""
