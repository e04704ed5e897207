"""Real money needs three keys: configuration, flag and a typed sentence, which holds for what was shown and no more."""

from pathlib import Path

import msgspec
import pytest

from kimp.order.operators.consent import SENTENCE, Consent, fingerprint, require
from kimp.shared.errors import ConfigurationError, ValidationFailed
from kimp.shared.settings import SecretStr, Settings, Strategy, Trade, Upbit

PERMITTED = Settings(trade=Trade(live_enabled=True))


def ask(settings: Settings, path: Path, *, typed: str | None = SENTENCE, is_meant: bool = True) -> Consent:
    return require(
        settings, path, is_meant=is_meant, by="kim", at=7, ask=None if typed is None else lambda: f" {typed}\n"
    )


def test_all_three_together_open_it(tmp_path: Path) -> None:
    assert ask(PERMITTED, tmp_path / "consent.json").by == "kim"


def test_each_one_missing_keeps_it_shut(tmp_path: Path) -> None:
    path = tmp_path / "consent.json"
    with pytest.raises(ConfigurationError, match="live_enabled"):
        ask(Settings(), path)
    with pytest.raises(ValidationFailed, match="--real-money"):
        ask(PERMITTED, path, is_meant=False)
    for typed in ("", "yes", "실거래를 시작"):
        with pytest.raises(ValidationFailed, match="not consented"):
            ask(PERMITTED, path, typed=typed)
    with pytest.raises(ValidationFailed, match="on a terminal"):
        ask(PERMITTED, path, typed=None)
    assert not path.exists()


def test_a_restart_without_a_terminal_is_covered_by_what_was_typed(tmp_path: Path) -> None:
    path = tmp_path / "consent.json"
    given = ask(PERMITTED, path)
    assert ask(PERMITTED, path, typed=None) == given


def test_other_thresholds_have_to_be_consented_to_again(tmp_path: Path) -> None:
    path = tmp_path / "consent.json"
    ask(PERMITTED, path)
    changed = msgspec.structs.replace(PERMITTED, strategy=Strategy(parameters="threshold=0.001"))
    with pytest.raises(ValidationFailed, match="on a terminal"):
        ask(changed, path, typed=None)


def test_new_keys_are_not_another_configuration_and_are_nowhere_in_the_file(tmp_path: Path) -> None:
    secret = "a-secret-nobody-should-see"
    rotated = msgspec.structs.replace(PERMITTED, upbit=Upbit(secret_key=SecretStr(secret)))
    assert fingerprint(rotated) == fingerprint(PERMITTED)
    ask(rotated, tmp_path / "consent.json")
    assert secret not in (tmp_path / "consent.json").read_text()


def test_a_torn_consent_is_none(tmp_path: Path) -> None:
    path = tmp_path / "consent.json"
    path.write_text('{"fingerprint": "')
    with pytest.raises(ValidationFailed, match="on a terminal"):
        ask(PERMITTED, path, typed=None)
