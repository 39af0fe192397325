"""Brings a database to the newest schema, and tells whether it is there.

Knows where the migrations lie: beside the package, because Hone is installed from a clone or as an image. Knows nothing
of what the tables mean.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def _config(url: str) -> Config:
    config = Config(toml_file=_PYPROJECT)
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Run the migrations that the database has not seen. Two at once wait for each other."""
    command.upgrade(_config(url), revision)


def downgrade(url: str, revision: str) -> None:
    """Undo migrations down to `revision` (`base` for all)."""
    command.downgrade(_config(url), revision)


def is_current(url: str) -> bool:
    """Whether the database has seen every migration."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            there = MigrationContext.configure(connection).get_current_heads()
    finally:
        engine.dispose()
    return set(there) == set(ScriptDirectory.from_config(_config(url)).get_heads())
