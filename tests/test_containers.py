"""The containers, as far as they can be tested without an engine: their files, their commands, and what they install.

The images are not built here. Instead the compose file is checked against its specification and resolved by an
interpreter of it, the Dockerfile is linted, and what its build installs is installed into a fresh environment.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from kimp.shared.catalogue import catalogue
from kimp.storage.database.binaries import installation

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
HEALTHCHECK = ROOT / "docker" / "healthcheck.py"
PROGRAMS = Path(sys.executable).parent
PASSWORDS = {"POSTGRES_PASSWORD": "5ecret0f7he0database", "REDIS_PASSWORD": "5ecret0f7he0f1ag"}
INSTALL_S_MAX = 300  # some twenty seconds where the packages are at hand
MEMBERS = ("shared", "storage", "order", "research", "portfolio")

Service = dict[str, Any]


def program(name: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / name), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, **options)


def services() -> dict[str, Service]:
    found: dict[str, Service] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return found


def instructions() -> list[str]:
    """The Dockerfile's instructions, one line each."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def final_stage() -> list[str]:
    lines = instructions()
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    return lines[last:]


# --- the compose file ------------------------------------------------------------------------------------------------


def test_the_compose_file_follows_its_specification() -> None:
    done = program("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE))
    assert done.returncode == 0, done.stdout


@contextmanager
def pretended_podman(directory: Path) -> Iterator[str]:
    """A PATH with a ``podman`` that only knows its version: resolving a compose file needs no engine behind it."""
    podman = directory / "podman"
    podman.write_text("#!/bin/sh\necho podman version 5.0.0\n", encoding="utf-8")
    podman.chmod(0o755)
    yield f"{directory}:/usr/bin:/bin"


def resolved(directory: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    shutil.copy(COMPOSE, directory / COMPOSE.name)  # away from the reader's own .env
    with pretended_podman(directory) as path:
        where = ["-f", str(directory / COMPOSE.name)]
        return program("podman-compose", *where, "config", env={"PATH": path, "HOME": str(directory)} | variables)


def test_the_compose_file_resolves_with_two_passwords_and_nothing_else(tmp_path: Path) -> None:
    done = resolved(tmp_path, PASSWORDS)
    assert done.returncode == 0, done.stderr
    facts = yaml.safe_load(done.stdout)["services"]
    assert set(facts) == {"db", "redis", "collector", "trader"}
    url = facts["collector"]["environment"]["KIMP__DATABASE__URL"]
    assert url == f"postgresql://kimp:{PASSWORDS['POSTGRES_PASSWORD']}@db:5432/kimp"
    assert facts["db"]["ports"] == ["127.0.0.1:5432:5432"]
    assert facts["collector"]["read_only"] is True


@pytest.mark.parametrize("missing", sorted(PASSWORDS))
@pytest.mark.parametrize("value", [None, ""])
def test_nothing_starts_without_a_password(missing: str, value: str | None, tmp_path: Path) -> None:
    variables = {name: password for name, password in PASSWORDS.items() if name != missing}
    done = resolved(tmp_path, variables if value is None else variables | {missing: value})
    assert done.returncode != 0
    assert missing in done.stderr


def faults(service: Service) -> set[str]:
    """What is wrong with a service."""
    is_right = {
        "image": bool(re.fullmatch(r"[a-z]+:(\d+\.\d+(\.\d+)?-[\w.]+|local)", service.get("image", ""))),
        "local image": service.get("image") != "kimp:local" or service.get("build") == ".",
        "user": str(service.get("user", "root")).split(":")[0] not in ("", "0", "root"),
        "read_only": service.get("read_only") is True,
        "tmpfs": bool(service.get("tmpfs")) and all(":mode=1777" in place for place in service["tmpfs"]),
        "cap_drop": service.get("cap_drop") == ["ALL"] and "cap_add" not in service,
        "security_opt": service.get("security_opt") == ["no-new-privileges:true"],
        "privileged": not {"privileged", "devices", "pid", "ipc", "network_mode"} & service.keys(),
        "ports": all(re.match(r"127\.0\.0\.1:", str(port)) for port in service.get("ports", [])),
        "healthcheck": bool(service.get("healthcheck", {}).get("test")) and "timeout" in service["healthcheck"],
        "restart": service.get("restart") == "unless-stopped",
        "logging": {"max-size", "max-file"} <= service.get("logging", {}).get("options", {}).keys(),
        "volumes": all(re.match(r"\w+:/", volume) for volume in service.get("volumes", [])),
        "pids_limit": service.get("pids_limit", 0) > 0,
    }
    return {name for name, right in is_right.items() if not right}


@pytest.mark.parametrize("name", ["db", "redis", "collector", "trader"])
def test_a_service_has_no_rights_it_does_not_need(name: str) -> None:
    assert faults(services()[name]) == set()


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("image", {"image": "postgres:latest"}),
        ("image", {"image": "postgres"}),
        ("local image", {"image": "kimp:local"}),
        ("user", {"user": "root"}),
        ("user", {"user": "0:0"}),
        ("read_only", {"read_only": False}),
        ("tmpfs", {"tmpfs": []}),
        ("tmpfs", {"tmpfs": ["/run/postgresql"]}),
        ("cap_drop", {"cap_add": ["NET_ADMIN"]}),
        ("security_opt", {"security_opt": []}),
        ("privileged", {"network_mode": "host"}),
        ("ports", {"ports": ["5432:5432"]}),
        ("ports", {"ports": ["0.0.0.0:5432:5432"]}),
        ("healthcheck", {"healthcheck": {}}),
        ("restart", {"restart": "no"}),
        ("logging", {"logging": {"driver": "json-file"}}),
        ("volumes", {"volumes": ["/var/run/docker.sock:/var/run/docker.sock"]}),
        ("pids_limit", {"pids_limit": -1}),
    ],
)
def test_a_right_too_many_is_noticed(fault: str, change: Service) -> None:
    assert faults(deepcopy(services()["db"]) | change) == {fault}


def test_every_volume_is_named_and_every_network_declared() -> None:
    facts = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    used = {volume.partition(":")[0] for service in facts["services"].values() for volume in service["volumes"]}
    assert used == set(facts["volumes"])
    assert {network for service in facts["services"].values() for network in service["networks"]} == set(
        facts["networks"]
    )
    assert facts["networks"]["inside"] == {"internal": True}


def test_redis_publishes_nothing_and_reaches_nothing() -> None:
    redis = services()["redis"]
    assert "ports" not in redis
    assert redis["networks"] == ["inside"]


def test_the_collector_waits_for_a_database_that_answers() -> None:
    assert services()["collector"]["depends_on"] == {"db": {"condition": "service_healthy"}}


def test_the_programs_that_come_with_kimp_can_back_the_database_up() -> None:
    major = int(services()["db"]["image"].partition(":")[2].partition(".")[0])
    assert installation().major >= major


def test_every_setting_of_the_collector_can_be_set_in_the_env_file() -> None:
    elsewhere = {"KIMP__DATABASE__URL", "KIMP__DATABASE__DIRECTORY", "KIMP__COLLECT__HTTP_PORT"}
    wanted = {field.variable for field in catalogue().values() if field.section in ("database", "collect", "log")}
    given = services()["collector"]["environment"]
    assert wanted - elsewhere == given.keys() - elsewhere
    for name in wanted - elsewhere:
        assert given[name] == f"${{{name}:-}}"


def test_the_collector_gets_no_key_to_trade_with() -> None:
    secrets = {field.variable for field in catalogue().values() if field.is_secret} - {"KIMP__DATABASE__URL"}
    assert not secrets & services()["collector"]["environment"].keys()


TRADER_ELSEWHERE = {"KIMP__DATABASE__URL", "KIMP__DATABASE__DIRECTORY"}
TRADED = ("capital", "costs", "strategy", "guards", "execution", "upbit", "binance", "trade", "paper", "log")


def test_every_setting_of_the_trader_can_be_set_in_the_env_file() -> None:
    given = services()["trader"]["environment"]
    wanted = {field.variable for field in catalogue().values() if field.section in TRADED and not field.is_url}
    assert wanted <= given.keys()
    for name in given.keys() - TRADER_ELSEWHERE:
        assert given[name] == f"${{{name}:-}}"


def test_where_the_trader_sends_its_keys_is_no_business_of_the_env_file() -> None:
    urls = {field.variable for field in catalogue().values() if field.is_url and field.section in ("upbit", "binance")}
    assert urls
    assert not urls & services()["trader"]["environment"].keys()


def test_the_trader_trades_paper_unless_told_otherwise_and_is_asked_how_it_does() -> None:
    trader = services()["trader"]
    assert trader["command"].split() == ["kimp", "trade", "--mode", "${KIMP_MODE:-paper}", "${KIMP_TRADE_FLAGS:-}"]
    assert "kimp status --mode ${KIMP_MODE:-paper}" in trader["healthcheck"]["test"][1]
    assert trader["volumes"] == ["trader:/data"], "a disk of its own: the collector's may run full"


@pytest.mark.parametrize("document", ["docker-compose.yml", "docs/DEPLOYMENT.md"])
def test_every_variable_of_the_compose_file_is_explained(document: str) -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text(encoding="utf-8")))
    text = (ROOT / document).read_text(encoding="utf-8")
    for name in used - {field.variable for field in catalogue().values()}:
        assert re.search(rf"^[#|] *`?{name}\b", text, re.MULTILINE), f"{document} does not explain {name}"


# --- Redis -----------------------------------------------------------------------------------------------------------


def test_the_password_of_redis_is_in_no_argument_and_every_write_is_safe(tmp_path: Path) -> None:
    shell, options, script = services()["redis"]["entrypoint"]
    server = tmp_path / "redis-server"
    server.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    server.chmod(0o755)
    run = script.replace("$$", "$").replace("/run/redis/redis.conf", str(tmp_path / "redis.conf"))
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin", "REDIS_PASSWORD": PASSWORDS["REDIS_PASSWORD"]}
    done = subprocess.run([shell, options, run], env=path, capture_output=True, text=True, check=True)
    said = done.stdout.split("\n")
    assert PASSWORDS["REDIS_PASSWORD"] not in done.stdout
    assert said[said.index("--appendonly") + 1] == "yes"
    assert said[said.index("--appendfsync") + 1] == "always"
    assert said[said.index("--maxmemory-policy") + 1] == "noeviction"
    secret = tmp_path / "redis.conf"
    assert secret.read_text(encoding="utf-8") == f"requirepass {PASSWORDS['REDIS_PASSWORD']}\n"
    assert secret.stat().st_mode & 0o077 == 0


# --- the Dockerfile --------------------------------------------------------------------------------------------------


def test_the_dockerfile_has_no_lint() -> None:
    done = program("hadolint", "--failure-threshold", "style", str(DOCKERFILE))
    assert done.returncode == 0, done.stdout


def test_lint_in_a_dockerfile_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nRUN cd /tmp && sudo ls\n", encoding="utf-8")
    assert program("hadolint", str(tmp_path / "Dockerfile")).returncode != 0


def test_every_stage_begins_with_the_same_pinned_slim_python() -> None:
    bases = {line.split()[1] for line in instructions() if line.startswith("FROM ")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+", bases.pop())
    assert sum(line.startswith("FROM ") for line in instructions()) == 2


def test_everything_from_outside_is_installed_by_its_hash() -> None:
    installs = [
        part
        for line in instructions()
        if line.startswith("RUN ")
        for part in line.removeprefix("RUN ").split(" && ")
        if re.match(r"(?!pip uninstall)pip\b.* (install|wheel) ", part)
    ]
    assert len(installs) == 4
    for step in installs:
        from_outside = "--require-hashes" in step and "--only-binary :all:" in step
        from_here = "--no-deps" in step and ("--no-index" in step or "--no-build-isolation" in step)
        assert from_outside != from_here, step
    assert any("--requirement requirements.lock" in step for step in installs)


def test_no_registry_is_named() -> None:
    for path in (DOCKERFILE, COMPOSE, ROOT / "docker" / "build.lock"):
        assert not re.search(r"--(extra-)?index-url|--find-links|https?://|\.io/", path.read_text(encoding="utf-8"))


def test_the_image_runs_as_a_user_without_rights_and_holds_nothing_to_build_with() -> None:
    stage = final_stage()
    assert "USER 10001:10001" in stage
    assert services()["collector"]["user"] == "10001:10001"
    assert not any(re.search(r"apt-get|\bpip (.* )?install ", line) for line in stage)
    assert any("pip uninstall --yes setuptools wheel pip" in line for line in stage)
    assert any(line.startswith("COPY --from=build /opt/kimp /opt/kimp") for line in stage)


def test_the_image_runs_a_command_that_exists() -> None:
    (line,) = [line for line in final_stage() if line.startswith("CMD ")]
    command = json.loads(line.removeprefix("CMD "))
    assert command == services()["collector"]["command"]
    assert command[0] == "kimp"
    assert command[1] in {entry.name for entry in entry_points(group="kimp.commands")}


def test_the_health_check_is_in_the_image_and_both_ask_it() -> None:
    assert any(line == "COPY docker/healthcheck.py /opt/kimp/healthcheck.py" for line in instructions())
    (image,) = [line for line in final_stage() if line.startswith("HEALTHCHECK ")]
    assert json.loads(image.partition(" CMD ")[2]) == ["python", "/opt/kimp/healthcheck.py"]
    assert services()["collector"]["healthcheck"]["test"] == ["CMD", "python", "/opt/kimp/healthcheck.py"]


def let_in() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "what is not named must stay outside"
    return [rule.removeprefix("!") for rule in rules if rule.startswith("!")]


def test_only_what_is_named_gets_into_the_image() -> None:
    names = let_in()
    assert all((ROOT / name).exists() for name in names)
    copied = [
        word
        for line in instructions()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert all(any(name == word or name.startswith(f"{word}/") for name in names) for word in copied)
    assert {name.partition("/")[0] for name in names} == {"requirements.lock", "docker", *MEMBERS}


@pytest.mark.skipif(not shutil.which("uv"), reason="installing needs uv, which runs the other gates too")
def test_what_the_image_installs_runs_without_anything_else(tmp_path: Path) -> None:
    """The build's own steps, with uv in place of pip, which keeps what it fetched: some twenty seconds."""
    context, environment = tmp_path / "context", tmp_path / "kimp"
    for name in let_in():
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, context / name)
    hashed = ["--only-binary", ":all:", "--require-hashes", "--requirement"]
    built = ["--no-deps", "--no-build-isolation", "--no-sources", *(f"./{member}" for member in MEMBERS)]
    uv(context, "venv", "--python", sys.executable, str(environment))
    install = ("pip", "install", "--python", str(environment / "bin" / "python"))
    for arguments in ([*hashed, "docker/build.lock"], [*hashed, "requirements.lock"], built):
        uv(context, *install, *arguments)
    uv(context, "pip", "check", "--python", str(environment / "bin" / "python"))
    alone = {"PATH": f"{environment / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}
    for command in (["kimp", "version"], ["kimp", "collect", "--help"]):
        done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def uv(directory: Path, *arguments: str) -> None:
    command = ["uv", *arguments, "--quiet"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False)
    assert done.returncode == 0, done.stderr
