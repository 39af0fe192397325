"""The import law: contracts over the source, and fresh interpreters that show what a process really loads."""

import ast
import json
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from app import jobs
from app.domain.words import QUEUE_OF, Queue

ROOT = Path(__file__).parents[2]
LIBRARY = sorted((ROOT / "worker" / "training").glob("*.py"))
HEAVY = {"torch", "transformers", "accelerate", "safetensors", "gguf", "numpy"}


def _python(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _loads(module: str) -> set[str]:
    """Top-level names in a fresh interpreter after importing `module`, and the whole names of our own."""
    code = "import importlib, json, sys; importlib.import_module(sys.argv[1]); print(json.dumps(sorted(sys.modules)))"
    names = json.loads(_python(code, module).splitlines()[-1])
    return {name for name in names if name.startswith(("app.", "worker."))} | {name.split(".")[0] for name in names}


@cache
def _worker() -> dict[str, list[str]]:
    """What a worker's parent process registers and has loaded after that."""
    code = (
        "import json, sys\n"
        "from worker.celery_app import celery\n"
        "print(json.dumps({\n"
        "    'tasks': [name for name in celery.tasks if name.startswith('hone.')],\n"
        "    'queues': [queue.name for queue in celery.conf.task_queues],\n"
        "    'modules': sorted(set(sys.modules) | {name.split('.')[0] for name in sys.modules}),\n"
        "}))"
    )
    found: dict[str, list[str]] = json.loads(_python(code).splitlines()[-1])
    return found


def test_contracts_are_kept() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(("module", "may"), [("app.main", {"numpy"}), ("app.cli", set())])
def test_the_doors_load_neither_the_worker_nor_what_it_computes_with(module: str, may: set[str]) -> None:
    assert _loads(module) & (HEAVY - may | {"worker"}) == set()


def test_the_workers_parent_process_loads_neither_torch_nor_the_web() -> None:
    loaded = set(_worker()["modules"])
    assert loaded & (HEAVY | {"fastapi", "starlette", "jinja2"}) == set()
    assert {name for name in loaded if name.startswith(("app.web", "app.main", "app.cli", "app.local"))} == set()


def test_the_worker_executes_exactly_what_may_be_asked() -> None:
    assert set(_worker()["tasks"]) == jobs.NAMES


def test_every_queue_that_is_sent_to_has_a_worker() -> None:
    assert set(_worker()["queues"]) == {queue.value for queue in Queue} == {queue.value for queue in QUEUE_OF.values()}


def test_the_domain_needs_the_standard_library_only() -> None:
    modules = [path.stem for path in (ROOT / "app" / "domain").glob("*.py") if path.stem != "__init__"]
    assert modules
    code = (
        "import importlib, json, sys\n"
        "before = {name.split('.')[0] for name in sys.modules}\n"
        "for name in sys.argv[1:]: importlib.import_module('app.domain.' + name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules} - before)))"
    )
    loaded = set(json.loads(_python(code, *modules)))
    assert loaded - set(sys.stdlib_module_names) == {"app"}


def test_the_training_command_loads_neither_database_nor_queue_nor_web() -> None:
    modules = [f"worker.training.{path.stem}" for path in LIBRARY if path.stem != "__init__"]
    code = (
        "import importlib, json, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = set(json.loads(_python(code, "worker.cli.command", *modules).splitlines()[-1]))
    ours = {name for name in loaded if name.startswith(("app.", "worker."))}
    assert {name for name in ours if not name.startswith(("app.domain", "worker.cli", "worker.training"))} == set()
    others = {"sqlalchemy", "psycopg", "celery", "kombu", "redis", "fastapi", "starlette", "pydantic", "structlog"}
    assert {name.split(".")[0] for name in loaded} & others == set()


def test_the_training_command_needs_what_its_requirements_say() -> None:
    trees = [ast.parse(path.read_text()) for path in [*LIBRARY, *(ROOT / "worker" / "cli").glob("*.py")]]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    imported = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"app", "worker"}
    lines = (ROOT / "worker" / "requirements.txt").read_text().splitlines()
    required = {line.split(">=")[0]: line for line in lines if line and not line.startswith("#")}
    assert {name.replace("_", "-") for name in imported} == required.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(required.values()) <= set(project["optional-dependencies"]["worker"])
