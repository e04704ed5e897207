"""Writes down the catalogue of settings: the TOML files, ``.env.example`` and ``docs/configuration.md``.

All four are generated, so that no setting is ever undocumented; a test compares them with the files in the repository.
"""

from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any, get_type_hints

from kimp.shared.catalogue import Field, catalogue, expectation
from kimp.shared.settings import MODES, SecretStr, Settings

_BASE_HEADER = """\
# kimp: settings of every mode. A line that begins with '# ' and a key shows the default; remove the '# ' to change it.
# What only one mode needs stands in {modes}, and wins over this file.
# The environment (KIMP__SECTION__KEY) and the command line win over both. Secrets never stand in these files.
# 모든 모드의 설정입니다. 기본값을 바꾸려면 줄 앞의 '# '를 지우세요. 비밀키는 이 파일에 쓰지 않습니다.
"""

_MODE_FILES = {
    "paper": """\
# Paper trading (모의투자): live market data, a virtual exchange, no keys. Differs from base.toml in nothing.
""",
    "testnet": """\
# Testnet (테스트넷): real order requests without real money. Upbit checks orders (order-test) and never fills them;
# Binance is its demo trading, which has keys of its own. Quotes stay those of the real markets.

[binance]
rest_url = "https://demo-fapi.binance.com"
quotes_url = "https://fapi.binance.com"
ws_private_url = "wss://demo-fstream.binance.com"
""",
    "live": """\
# Live trading (실거래): real money. Logs are for machines, because nobody watches a terminal for months.

[log]
format = "json"
""",
}

_ENV_HEADER = """\
# Every setting as an environment variable. Copy to .env and fill in what you need; an empty value means "not set".
# Docker Compose reads .env by itself; without it: uv run --env-file .env kimp …
# Each secret may come from a file instead (Docker secrets): set the variable with _FILE to the file's path.
# 모든 설정의 환경 변수입니다. .env 로 복사해 필요한 값만 채우세요. 빈 값은 '설정하지 않음'입니다.

# Directory of the TOML files (default: ./config, then ~/.config/kimp)
KIMP_CONFIG=
# 1 = show tracebacks
KIMP_DEBUG=
"""

_DOCUMENT_HEADER = """\
# Configuration

<!-- Generated from kimp.shared.settings; to renew it: uv run just generate -->

Later wins: built-in default < `config/base.toml` < `config/<mode>.toml` < environment < command line.
`kimp config show` prints the resolved whole, with the origin of every value and without secrets;
`kimp config init` writes the files.

- **Files** lie in the directory `KIMP_CONFIG`, else `./config`, else `~/.config/kimp`. Without any, the defaults hold
  and only paper trading runs: `testnet` and `live` need their file.
- **Environment**: `KIMP__SECTION__KEY`, such as `KIMP__CAPITAL__FRACTION=0.5`. An empty value counts as not set.
- **Command line**: `--set section.key=value`.
- **Secrets** come from the environment, or from a file named by the variable with `_FILE` (Docker secrets). In TOML
  files and on the command line they are refused.
- **URLs** lead to the venues or to this machine. Anywhere else needs `network.allow_foreign_urls`, because your API
  keys would go there.
- An unknown key or a bad value ends the command with exit code 4 and one sentence that says where it stands.

Fractions are fractions: 0.0005 is 0.05 %.
"""


def files() -> dict[str, str]:
    """The TOML files by name: ``base.toml`` and one for each mode."""
    return {"base.toml": base_toml()} | {f"{mode}.toml": _MODE_FILES[mode] for mode in MODES}


def base_toml() -> str:
    """Every setting but the secrets, explained and commented out, so that a better default reaches old files too."""
    lines = [_BASE_HEADER.format(modes=", ".join(f"{mode}.toml" for mode in MODES))]
    for section, fields in _sections():
        lines += [f"# {_summary(section)}", f"[{section}]"]
        for field in fields:
            if not field.is_secret:
                lines += [f"# {_explain(field)}", f"# {field.name} = {_toml(field.default)}"]
        lines.append("")
    return "\n".join(lines)


def env_example() -> str:
    """Every setting as an environment variable, explained and empty."""
    lines = [_ENV_HEADER]
    for section, fields in _sections():
        lines.append(f"# --- {section}: {_summary(section)}")
        for field in fields:
            default = "" if field.is_secret else f" Default: {shown_default(field)}"
            lines += [f"# {_explain(field)}{default}", f"{field.variable}="]
            if field.is_secret:
                lines.append(f"{field.variable}_FILE=")
        lines.append("")
    return "\n".join(lines)


def markdown() -> str:
    """``docs/configuration.md``, whole."""
    lines = [_DOCUMENT_HEADER]
    for section, fields in _sections():
        lines += [f"## {section}", "", _summary(section), ""]
        lines += ["| key | default | accepts | unit | meaning |", "|---|---|---|---|---|"]
        for field in fields:
            default = f"`{shown_default(field)}`" if shown_default(field) else "not set"
            accepts = "a secret" if field.is_secret else expectation(field)
            lines.append(f"| `{field.name}` | {default} | {accepts} | {field.about.unit} | {field.about.meaning} |")
        lines.append("")
    return "\n".join(lines)


def shown_default(field: Field) -> str:
    """A default as an operator reads and writes it."""
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return str(field.default)


def _sections() -> Iterator[tuple[str, list[Field]]]:
    for section, fields in groupby(catalogue().values(), key=lambda field: field.section):
        yield section, list(fields)


def _summary(section: str) -> str:
    doc: str = get_type_hints(Settings)[section].__doc__
    return " ".join(doc.split())


def _explain(field: Field) -> str:
    unit = f" [{field.about.unit}]" if field.about.unit else ""
    accepts = f" ({expectation(field)})" if field.about.at_least is not None or field.choices else ""
    return f"{field.about.meaning}{unit}{accepts}"


def _toml(value: Any) -> str:
    assert not isinstance(value, SecretStr)
    if isinstance(value, bool):
        return str(value).lower()
    return (
        str(value)
        if isinstance(value, int | Decimal)
        else f'"{Path(value).as_posix() if isinstance(value, Path) else value}"'
    )
