"""Configuration: where each value comes from, and one clear sentence for every mistake."""

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared import config_files
from kimp.shared.catalogue import catalogue, expectation, is_loopback
from kimp.shared.config import Configuration, load
from kimp.shared.errors import EXIT_CONFIGURATION, ConfigurationError
from kimp.shared.settings import MODES, SecretStr

CANARY = "canary-secret-9f3a"
LONGER_THAN_A_SENTENCE = 400


@pytest.fixture(autouse=True)
def _somewhere_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(directory: Path, **files: str) -> Path:
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / f"{name}.toml").write_text(content, encoding="utf-8")
    return directory


def read(
    environ: Mapping[str, str] | None = None, *overrides: str, mode: str | None = None, directory: Path | None = None
) -> Configuration:
    home = {"XDG_CONFIG_HOME": str(Path.cwd() / "nobody")}
    return load(mode, environ=home | dict(environ or {}), directory=directory, overrides=overrides)


def refusal(
    environ: Mapping[str, str] | None = None, *overrides: str, mode: str | None = None, directory: Path | None = None
) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(environ, *overrides, mode=mode, directory=directory)
    sentence = str(caught.value)
    assert caught.value.exit_code == EXIT_CONFIGURATION
    assert "\n" not in sentence
    assert len(sentence) < LONGER_THAN_A_SENTENCE
    return sentence


def test_without_anything_the_defaults_hold() -> None:
    found = read()
    assert found.settings.capital.fraction == Decimal("0.95")
    assert found.origins["capital", "fraction"] == "default"
    assert found.files == ()


def test_each_layer_wins_over_the_one_below(tmp_path: Path) -> None:
    files = write(tmp_path / "config", base="[capital]\nfraction = 0.1\n", paper="[capital]\nfraction = 0.2\n")
    variable = {"KIMP__CAPITAL__FRACTION": "0.3"}
    assert read(directory=files).settings.capital.fraction == Decimal("0.1")
    assert read(directory=files, mode="paper").settings.capital.fraction == Decimal("0.2")
    assert read(variable, directory=files, mode="paper").settings.capital.fraction == Decimal("0.3")
    last = read(variable, "capital.fraction=0.4", directory=files, mode="paper")
    assert last.settings.capital.fraction == Decimal("0.4")


def test_every_value_says_where_it_came_from(tmp_path: Path) -> None:
    files = write(tmp_path / "config", base="[capital]\nfraction = 0.1\n[costs]\nslippage = 0.001\n")
    found = read({"KIMP__LOG__LEVEL": "debug"}, "capital.fraction=0.2", directory=files)
    assert found.origins["capital", "fraction"] == "command line"
    assert found.origins["costs", "slippage"] == str(files / "base.toml")
    assert found.origins["log", "level"] == "KIMP__LOG__LEVEL"
    assert found.origins["log", "format"] == "default"


def test_a_fee_in_a_file_is_exact_to_the_last_digit(tmp_path: Path) -> None:
    files = write(tmp_path / "config", base="[costs]\nupbit_fee = 0.000139\n")
    assert str(read(directory=files).settings.costs.upbit_fee) == "0.000139"


def test_unknown_key_names_the_nearest_one(tmp_path: Path) -> None:
    files = write(tmp_path / "config", base="[capital]\nfractoin = 0.5\n")
    sentence = refusal(directory=files)
    assert "did you mean capital.fraction?" in sentence
    assert str(files / "base.toml") in sentence


def test_unknown_section_names_the_nearest_one(tmp_path: Path) -> None:
    assert "did you mean guards?" in refusal(directory=write(tmp_path / "config", base="[guard]\nquarantine_s = 1\n"))


def test_unknown_variable_names_the_nearest_one() -> None:
    sentence = refusal({"KIMP__UPBIT__RESTURL": "https://api.upbit.com"})
    assert "KIMP__UPBIT__RESTURL" in sentence
    assert "did you mean KIMP__UPBIT__REST_URL?" in sentence
    assert "KIMP__UPBITT__REST_URL" in refusal({"KIMP__UPBITT__REST_URL": "x"})
    assert "KIMP__NONSENSE" in refusal({"KIMP__NONSENSE": "x"})


def test_a_key_like_no_other_lists_what_there_is() -> None:
    assert "[capital] has fraction" in refusal({}, "capital.zzzz=1")


def test_an_unknown_mode_lists_the_modes() -> None:
    assert refusal(mode="papre") == "there is no mode 'papre', did you mean paper?; the modes are paper, testnet, live"
    assert refusal(mode="../../etc").startswith("there is no mode")


def test_real_venues_need_their_file(tmp_path: Path) -> None:
    assert "kimp config init" in refusal(mode="live")
    assert "live.toml does not exist" in refusal(mode="live", directory=write(tmp_path / "config", base=""))


def test_broken_toml_names_file_and_line(tmp_path: Path) -> None:
    files = write(tmp_path / "config", base="[capital]\nfraction = \n")
    sentence = refusal(directory=files)
    assert str(files / "base.toml") in sentence
    assert "line 2" in sentence


def test_a_file_that_is_not_text_is_one_sentence(tmp_path: Path) -> None:
    files = write(tmp_path / "config")
    (files / "base.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(directory=files)


def test_a_key_without_its_section_is_explained(tmp_path: Path) -> None:
    assert "write [capital]" in refusal(directory=write(tmp_path / "config", base="capital = 0.5\n"))


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("capital.fraction=abc", "a number from 0.01 to 0.95"),
        ("capital.fraction=0.96", "a number from 0.01 to 0.95"),
        ("capital.fraction=nan", "a number from 0.01 to 0.95"),
        ("costs.slippage=Infinity", "a number from 0 to 0.05"),
        ("costs.slippage=-0.001", "a number from 0 to 0.05"),
        ("execution.leverage=1.5", "a whole number from 1 to 3"),
        ("execution.leverage=", "a whole number from 1 to 3"),
        ("strategy.direction=long", "one of LONG_PREMIUM, SHORT_PREMIUM"),
        ("network.allow_foreign_urls=maybe", "true or false"),
        ("data.directory=", "a path"),
    ],
)
def test_a_bad_value_says_what_would_be_right(assignment: str, expected: str) -> None:
    key = assignment.split("=")[0]
    assert refusal({}, assignment).startswith(f"{key} in command line is ")
    assert refusal({}, assignment).endswith(f"but must be {expected}")


def test_a_bad_value_in_a_file_keeps_its_type(tmp_path: Path) -> None:
    files = write(tmp_path / "config", base="[execution]\nleverage = true\n")
    assert "is true, but must be a whole number" in refusal(directory=files)


@pytest.mark.parametrize("assignment", ["capital", "capital.fraction", "fraction=1", "=", ""])
def test_a_malformed_assignment_is_explained(assignment: str) -> None:
    assert "section.key=value" in refusal({}, assignment)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert read({"KIMP__CAPITAL__FRACTION": ""}).origins["capital", "fraction"] == "default"


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY + "\n", encoding="utf-8")
    for environ in ({"KIMP__UPBIT__ACCESS_KEY": CANARY}, {"KIMP__UPBIT__ACCESS_KEY_FILE": str(tmp_path / "key")}):
        found = read(environ)
        assert found.settings.upbit.access_key.get_secret_value() == CANARY
        assert found.secrets == (SecretStr(CANARY),)


def test_a_secret_in_two_places_is_refused() -> None:
    both = {"KIMP__UPBIT__ACCESS_KEY": CANARY, "KIMP__UPBIT__ACCESS_KEY_FILE": "key"}
    assert "both set" in refusal(both)


def test_a_secret_file_that_is_missing_or_empty_is_explained(tmp_path: Path) -> None:
    assert "KIMP__UPBIT__ACCESS_KEY_FILE names gone" in refusal({"KIMP__UPBIT__ACCESS_KEY_FILE": "gone"})
    (tmp_path / "key").write_text("\n", encoding="utf-8")
    assert "shorter than 8" in refusal({"KIMP__UPBIT__ACCESS_KEY_FILE": "key"})


def test_only_secrets_are_read_from_files() -> None:
    assert "only secrets" in refusal({"KIMP__UPBIT__REST_URL_FILE": "url"})


def test_secrets_are_refused_where_others_can_read_them(tmp_path: Path) -> None:
    files = write(tmp_path / "config", base=f'[binance]\napi_key = "{CANARY}"\n')
    for sentence in (refusal(directory=files), refusal({}, f"binance.api_key={CANARY}")):
        assert "KIMP__BINANCE__API_KEY_FILE" in sentence
        assert CANARY not in sentence


def test_a_secret_shows_itself_to_nobody() -> None:
    found = read({"KIMP__BINANCE__SECRET_KEY": CANARY})
    secret = found.settings.binance.secret_key
    for text in (str(secret), repr(secret), f"{secret}", f"{secret!r}", repr(found), str(found.settings)):
        assert CANARY not in text
    with pytest.raises(TypeError):
        msgspec.json.encode(found.settings)
    with pytest.raises(TypeError):
        secret.__reduce__()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080",
        "http://localhost:1",
        "http://[::1]:8080/x",
        "https://fapi.binance.com",
        "https://demo-fapi.binance.com",
    ],
)
def test_venues_and_this_machine_need_no_permission(url: str) -> None:
    assert read({}, f"binance.rest_url={url}").settings.binance.rest_url == url


@pytest.mark.parametrize(
    "url", ["https://evil.example", "https://fapi.binance.com.evil.example", "http://10.0.0.1:80", "https://upbit.com"]
)
def test_anywhere_else_needs_permission(url: str) -> None:
    assert "allow_foreign_urls" in refusal({}, f"binance.rest_url={url}")
    assert read({}, f"binance.rest_url={url}", "network.allow_foreign_urls=true").settings.binance.rest_url == url


@pytest.mark.parametrize(
    "url", ["", "fapi.binance.com", "ftp://fapi.binance.com", "wss://fapi.binance.com", "https://a:b@fapi.binance.com",
            "https://fapi.binance.com@evil.example", "https://[", "https://localhost:99999", "http://fapi.binance.com"]
)  # fmt: skip
def test_what_is_no_safe_url_is_refused_even_with_permission(url: str) -> None:
    refusal({}, f"binance.rest_url={url}", "network.allow_foreign_urls=true")


def test_a_url_of_its_own_for_quotes_may_be_left_out_and_is_checked_when_given() -> None:
    assert read({}).settings.binance.public_rest_url == "https://fapi.binance.com"
    elsewhere = read(
        {}, "binance.quotes_url=http://127.0.0.1:9", "binance.rest_url=http://127.0.0.1:8"
    ).settings.binance
    assert elsewhere.public_rest_url == "http://127.0.0.1:9"
    assert read({}, "binance.rest_url=http://127.0.0.1:8").settings.binance.public_rest_url == "http://127.0.0.1:8"
    assert "foreign" in refusal({}, "binance.quotes_url=https://quotes.example")


def test_the_data_directory_follows_the_desktop_standard(tmp_path: Path) -> None:
    assert read({"XDG_DATA_HOME": str(tmp_path)}).settings.data.directory == tmp_path / "kimp"
    assert read({"XDG_DATA_HOME": str(tmp_path), "KIMP__DATA__DIRECTORY": "here"}).settings.data.directory == Path(
        "here"
    )
    assert read().settings.data.directory == Path("~/.local/share/kimp").expanduser()


def test_files_are_found_here_then_with_the_user_then_nowhere(tmp_path: Path) -> None:
    write(tmp_path / "kimp", base="[capital]\nfraction = 0.1\n")
    assert load(environ={"XDG_CONFIG_HOME": str(tmp_path)}).settings.capital.fraction == Decimal("0.1")
    write(tmp_path / "config", base="[capital]\nfraction = 0.2\n")
    assert load(environ={"XDG_CONFIG_HOME": str(tmp_path)}).settings.capital.fraction == Decimal("0.2")
    write(tmp_path / "named", base="[capital]\nfraction = 0.3\n")
    assert load(environ={"KIMP_CONFIG": str(tmp_path / "named")}).settings.capital.fraction == Decimal("0.3")
    assert "KIMP_CONFIG names gone" in refusal({"KIMP_CONFIG": "gone"})


@pytest.mark.parametrize("mode", MODES)
def test_the_files_that_init_writes_are_valid_in_every_mode(mode: str, tmp_path: Path) -> None:
    files = write(
        tmp_path / "config", **{name.removesuffix(".toml"): text for name, text in config_files.files().items()}
    )
    assert read(mode=mode, directory=files).mode == mode


def test_the_base_file_says_the_defaults(tmp_path: Path) -> None:
    lines = [line.removeprefix("# ") if " = " in line and "'# '" not in line else line
             for line in config_files.base_toml().splitlines()]  # fmt: skip
    files = write(tmp_path / "config", base="\n".join(lines))
    assert read(directory=files).settings == read().settings


def test_every_setting_is_documented() -> None:
    document = config_files.markdown()
    for field in catalogue().values():
        assert field.about.meaning.endswith("."), f"{field.section}.{field.name}"
        assert field.about.meaning in document
        assert expectation(field)


@given(st.decimals(min_value="0.01", max_value="0.95", allow_nan=False))
def test_any_fraction_survives_the_environment_unchanged(fraction: Decimal) -> None:
    found = load(environ={"KIMP__CAPITAL__FRACTION": str(fraction), "XDG_CONFIG_HOME": "nobody"})
    assert found.settings.capital.fraction == fraction


@given(st.text(), st.text())
def test_whatever_is_set_gives_a_value_or_a_sentence(key: str, value: str) -> None:
    with suppress(ConfigurationError):  # anything else that is raised fails the test
        load(environ={f"KIMP__{key}": value, "XDG_CONFIG_HOME": "nobody"}, overrides=[f"{key}={value}"])


def test_loopback_is_only_this_machine() -> None:
    assert is_loopback("127.0.0.2")
    assert not is_loopback("127.0.0.1.evil.example")
    assert not is_loopback("0.0.0.0")
