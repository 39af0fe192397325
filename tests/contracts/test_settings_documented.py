"""docs/operations.md names every setting and every command, and nothing that does not exist."""

import re
from pathlib import Path

import click

from app.cli import main
from app.settings import Settings

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_and_no_other() -> None:
    there = {f"HONE_{name.upper()}" for name in Settings.model_fields}
    table = OPERATIONS.split("## Settings")[1].split("## In production")[0]
    assert set(re.findall(r"^\| `(HONE_\w+)`", table, re.MULTILINE)) == there


def _commands(group: click.Group, before: str = "hone") -> set[str]:
    found = set()
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= _commands(command, f"{before} {name}")
        else:
            found.add(f"{before} {name}")
    return found


def test_every_command_is_documented_and_no_other() -> None:
    table = OPERATIONS.split("## Settings")[0]
    rows = re.findall(r"^\| `(hone[a-z ]+?)(?: [A-Z\[-].*?)?` \|", table, re.MULTILINE)
    assert set(rows) == _commands(main)
