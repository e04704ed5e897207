"""No secret reaches the log, whichever way it tries."""

import base64
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared import logs
from kimp.shared.redaction import BLACK, Redactor, scrub
from kimp.shared.settings import Log, SecretStr

CANARY = 'canary/with "quotes"+and=signs&한글'
JWT = "eyJhbGciOiJIUzUxMiJ9.eyJhY2Nlc3Nfa2V5IjoiYWJjIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
TELEGRAM = "123456789:AAF0abcdefghijklmnopqrstuvwxyz_-012"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def opened(form: Literal["console", "json"], *secrets: str, level: Any = "debug") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(Log(level=level, format=form), [SecretStr(secret) for secret in secrets], stream)
    return stream


def fail_with(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError as cause:
        raise RuntimeError("while signing") from cause


FORMS = pytest.mark.parametrize("form", ["console", "json"])


@FORMS
def test_a_secret_is_black_wherever_it_stands(form: Literal["console", "json"]) -> None:
    stream = opened(form, CANARY)
    log = logs.get("kimp.test")
    log.info(f"sent {CANARY}")
    log.info("sent", body={"deep": [{"er": ("x", CANARY)}]}, raw=CANARY.encode(), thing=ValueError(CANARY))
    log.info("sent", **{CANARY: 1})
    log.info("sent %s", CANARY)
    logging.getLogger("library").warning("library %s", CANARY, extra={"context": {"k": CANARY}})
    try:
        fail_with(CANARY)
    except RuntimeError:
        log.exception("failed")
        logging.getLogger("library").exception("failed")
    text = stream.getvalue()
    assert text.count(BLACK) >= 8
    for form_of_it in (CANARY, json.dumps(CANARY)[1:-1], quote(CANARY), "canary"):
        assert form_of_it not in text


@FORMS
def test_encoded_secrets_are_black_too(form: Literal["console", "json"]) -> None:
    stream = opened(form, CANARY)
    around = [b"", b"u", b"us", b"user:"]
    encoded = [base64.b64encode(before + CANARY.encode() + after).decode() for before in around for after in around]
    urlsafe = [base64.urlsafe_b64encode(before + CANARY.encode()).decode() for before in around]
    for spelling in [*encoded, *urlsafe, quote(CANARY, safe=""), CANARY.encode().hex()]:
        logs.get("kimp.test").info("sent", spelling=spelling)
        logging.getLogger("library").info("%s", spelling)
    text = stream.getvalue()
    lines = text.splitlines()
    assert len(lines) == 2 * (16 + 4 + 2)
    assert all(BLACK in line for line in lines)
    assert base64.b64encode(CANARY.encode()).decode()[4:12] not in text


@FORMS
@pytest.mark.parametrize(
    ("line", "leaked"),
    [
        (f"token {JWT}", JWT.split(".")[1]),
        (f"POST https://api.telegram.example/bot{TELEGRAM}/sendMessage", TELEGRAM.split(":")[1]),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ("{'Authorization': 'Basic dXNlcjpwYXNz'}", "dXNlcjpwYXNz"),
        ("{'X-MBX-APIKEY': 'binance-key-1'}", "binance-key-1"),
        ("connecting to postgres://kimp:hunter2@db/kimp", "hunter2"),
        ("GET /fapi/v1/order?symbol=BTCUSDT&signature=" + "ab" * 32, "abab"),
    ],
)
def test_what_looks_like_a_credential_is_black(form: Literal["console", "json"], line: str, leaked: str) -> None:
    stream = opened(form)
    logs.get("kimp.test").info(line, nested={"line": [line]})
    logging.getLogger("library").info(line)
    assert leaked not in stream.getvalue()
    assert leaked not in scrub(line)


def test_a_telling_key_hides_whatever_it_holds() -> None:
    redacted = Redactor().value({"headers": {"api_key": "plain", "password": "x", "count": 3}})
    assert redacted == {"headers": {"api_key": BLACK, "password": BLACK, "count": 3}}


def test_ordinary_lines_stay_as_they_are() -> None:
    line = "진입 BTC 0.07 @ 143,500,000 KRW at 2026-11-20 16:18:00 +09:00, order 9a1b2c3d-1111-2222-3333-444455556666"
    assert Redactor([CANARY]).text(line) == line


def test_json_lines_are_json_with_time_and_level() -> None:
    stream = opened("json", CANARY)
    logs.get("kimp.test").warning("feed lost", feed="upbit", age_ms=1500)
    entry = json.loads(stream.getvalue())
    assert entry["event"] == "feed lost"
    assert (entry["level"], entry["logger"], entry["feed"], entry["age_ms"]) == ("warning", "kimp.test", "upbit", 1500)
    assert entry["timestamp"].endswith("Z")


def test_less_serious_lines_stay_away() -> None:
    stream = opened("console", level="warning")
    logs.get("kimp.test").info("chatter")
    logging.getLogger("library").info("chatter")
    assert stream.getvalue() == ""


def test_a_logger_made_before_obeys_too() -> None:
    early = logs.get("kimp.early")
    stream = opened("console", CANARY)
    early.info(CANARY)
    assert "canary" not in stream.getvalue()


def test_warnings_of_libraries_are_redacted() -> None:
    stream = opened("console", CANARY)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn(f"deprecated {CANARY}", stacklevel=1)
    assert "deprecated" in stream.getvalue()
    assert "canary" not in stream.getvalue()


def test_a_structure_that_holds_itself_ends() -> None:
    ring: list[object] = [CANARY]
    ring.append(ring)
    assert "canary" not in repr(Redactor([CANARY]).value(ring))


@given(st.text(min_size=8), st.text(), st.text())
def test_no_secret_of_any_shape_survives(secret: str, before: str, after: str) -> None:
    assert secret not in Redactor([secret]).text(before + secret + after).replace(BLACK, "")
