"""Every environment variable of Hone, typed and checked once per process.

Knows names, types and defaults. Knows nothing of how a server is started or what a value is used for: each
composition root reads `Settings()` and hands the pieces on. There is no secret among them: sessions, invitations and
tokens are random and only their hashes are stored, so nothing here needs a default password.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read from the environment (prefix `HONE_`). docs/operations.md documents each; a test holds the two together."""

    model_config = SettingsConfigDict(env_prefix="HONE_", extra="ignore", frozen=True)

    data_dir: Path = Field(
        default=Path("data"), description="Where embedded servers, models, artifacts and exports live."
    )
    database_url: str | None = Field(
        default=None,
        description="PostgreSQL 15+ as `postgresql+psycopg://user:password@host/name`. Unset: the embedded server.",
    )
    broker_url: str | None = Field(
        default=None, description="Redis 6.2+ as `redis://host:6379/0`. Unset: the embedded server."
    )
    artifacts_dir: Path | None = Field(
        default=None,
        description="Checkpoints, exports and uploads, shared by web and workers. Unset: `artifacts` under the data "
        "directory.",
    )
    base_model: str = Field(
        default="smollm2-135m",
        description="What the first SFT starts from: `smollm2-135m` (from the package index), `tiny` (random weights, "
        "for trying the mechanism), a directory, or a Hugging Face hub id.",
    )
    host: str = Field(default="127.0.0.1", description="Address the web process listens on.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=8700, description="Port the web process listens on.")
    public_url: str | None = Field(
        default=None, description="Address people type, where a proxy stands in front. Unset: from host and port."
    )
    cookie_secure: bool = Field(
        default=False, description="Send the session cookie over HTTPS only. Set it wherever TLS ends before Hone."
    )
    database_pool: Annotated[int, Field(ge=1, le=200)] = Field(
        default=20, description="Database connections a web process may hold."
    )
    lease_seconds: Annotated[int, Field(ge=30, le=86400)] = Field(
        default=900, description="How long a slot is kept for a labeler who went quiet."
    )
    run_lease_seconds: Annotated[int, Field(ge=5, le=3600)] = Field(
        default=60, description="How long a run may be silent before another worker takes it."
    )
    threads: Annotated[int, Field(ge=1, le=256)] | None = Field(
        default=None, description="Torch threads of a worker. Unset: one per core."
    )
    upload_megabytes: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=512, description="Largest file the import page takes."
    )

    @property
    def artifacts(self) -> Path:
        """The artifact directory in force, absolute."""
        return (self.artifacts_dir or self.data_dir / "artifacts").resolve()

    @property
    def address(self) -> str:
        """The address people open, without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")
