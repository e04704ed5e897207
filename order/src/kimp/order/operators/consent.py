"""The owner's consent to trade with real money: typed once on a terminal, good for exactly what was shown then.

A trader that restarts at night has nobody to type. So the consent is kept, with a fingerprint of every setting that
decides what is traded and how; when any of them changes it is asked for again.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import msgspec

from kimp.shared.domain.time import Nanos
from kimp.shared.errors import ConfigurationError, ValidationFailed
from kimp.shared.settings import Settings

SENTENCE = "실거래를 시작합니다"
SENTENCE_EN = "trade real money"
"""What has to be typed, whole, in either language: a slip of the finger cannot say it."""

DECIDING = ("capital", "strategy", "guards", "execution", "trade", "upbit", "binance", "costs")
"""Sections whose settings decide what is traded, how and where; secrets are left out of the fingerprint."""


class Consent(msgspec.Struct, frozen=True):
    """What was consented to, by whom and when."""

    fingerprint: str
    by: str
    at: Nanos


def fingerprint(settings: Settings) -> str:
    """One hash over everything that decides what is traded."""
    digest = blake2b(digest_size=12)
    for section in DECIDING:
        part = getattr(settings, section)
        for field in msgspec.structs.fields(part):
            if "key" not in field.name:
                digest.update(f"{section}.{field.name}={getattr(part, field.name)}\n".encode())
    return digest.hexdigest()


def require(
    settings: Settings, path: Path, *, is_meant: bool, by: str, at: Nanos, ask: Callable[[], str] | None
) -> Consent:
    """The three keys to real money: the configuration permits it, the flag means it, and the owner has typed it.

    Args:
        settings: the resolved configuration of the live mode.
        path: where the consent is kept.
        is_meant: the flag of the command line.
        by, at: who and when.
        ask: reads what the owner types; ``None`` where there is no terminal.

    Raises:
        ConfigurationError: the configuration does not permit it.
        ValidationFailed: the flag is missing, or the sentence was not typed.
    """
    if not settings.trade.live_enabled:
        raise ConfigurationError(
            "live trading is not permitted: set live_enabled = true under [trade] in config/live.toml when you mean it"
        )
    if not is_meant:
        raise ValidationFailed("live trading moves real money: add --real-money when you mean it")
    wanted, known = fingerprint(settings), _kept(path)
    if known is not None and known.fingerprint == wanted:
        return known
    if ask is None:
        raise ValidationFailed(
            "nobody has consented to this configuration yet: start it once on a terminal and type the sentence it asks for"
        )
    if ask().strip() not in (SENTENCE, SENTENCE_EN):
        raise ValidationFailed("not consented; nothing was started")
    consent = Consent(wanted, by, at)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(consent))
    partial.replace(path)
    return consent


def _kept(path: Path) -> Consent | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Consent)
    except (OSError, msgspec.MsgspecError):
        return None
