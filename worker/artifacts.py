"""Where a run keeps its files: checkpoints by run and fencing token, prepared base models, exports, uploads.

Knows paths under the artifact directory. A directory belongs to one claim of one run, so that a stale worker that
wakes up writes beside the one that took over, never into it. Knows nothing of rows.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from app.domain.words import Stage
from app.services.runs import Claim


class DiskFull(OSError):
    """There is not enough room; the message says how much is missing and where."""


@dataclass(frozen=True)
class Artifacts:
    """The artifact directory, shared by web and workers."""

    root: Path

    def of_run(self, claim: Claim) -> Path:
        """An empty place for this claim's files; what an earlier holder of the same run left behind is removed."""
        for stale in self.root.glob(f"runs/{claim.run_id}-*"):
            if stale.name != f"{claim.run_id}-{claim.fence}":
                shutil.rmtree(stale, ignore_errors=True)
        place = self.root / "runs" / f"{claim.run_id}-{claim.fence}"
        place.mkdir(parents=True, exist_ok=True)
        return place

    def forget(self, claim: Claim) -> None:
        """Remove what a failed or cancelled claim wrote."""
        shutil.rmtree(self.root / "runs" / f"{claim.run_id}-{claim.fence}", ignore_errors=True)

    def forget_upload(self, claim: Claim) -> None:
        """Remove the file an import read, now that the import is over."""
        if claim.stage is Stage.IMPORT:
            self.path(claim.payload["path"]).unlink(missing_ok=True)

    def base_model(self, name: str) -> Path:
        """Where the prepared form of a base model lies, or will."""
        plain = "".join(sign if sign.isalnum() or sign in "-._" else "-" for sign in name).strip("-.")[-60:]
        return self.root / "base" / f"{plain or 'model'}-{sha256(name.encode()).hexdigest()[:8]}"

    def path(self, relative: str) -> Path:
        """A stored path. Raises ValueError for one that leads outside."""
        found = (self.root / relative).resolve()
        if not found.is_relative_to(self.root.resolve()):
            raise ValueError(f"{relative} lies outside of the artifact directory")
        return found

    def relative(self, path: Path) -> str:
        """How a path is stored."""
        return path.resolve().relative_to(self.root.resolve()).as_posix()

    def need(self, number: int) -> None:
        """Raises DiskFull unless `number` bytes are free."""
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < number:
            raise DiskFull(
                f"{number / 1e9:.1f} GB are needed under {self.root}, {free / 1e9:.1f} GB are free. "
                "Nothing was written; make room and start the run again."
            )


def size(directory: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@cache
def code_revision() -> str:
    """The version of the package and its commit: from the clone, or as the image was built (HONE_CODE_REVISION).

    Read when a run begins, so that it tells what was loaded.
    """
    root = Path(__file__).parents[1]
    done = (
        subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
        )
        if (root / ".git").exists() and shutil.which("git")
        else None
    )
    commit = done.stdout.strip() if done is not None and done.returncode == 0 else ""
    commit = commit or os.environ.get("HONE_CODE_REVISION", "")
    return f"{version('hone')}+{commit}" if commit else version("hone")
