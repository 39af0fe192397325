"""Where a run keeps its files: checkpoints by run and fencing token, prepared base models, exports, uploads.

Knows paths under the artifact directory. A directory belongs to one claim of one run, so that a stale worker that
wakes up writes beside the one that took over, never into it. The resume states of a claim go over to the next one.
Knows nothing of rows.
"""

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from app.domain.words import Stage
from app.services.runs import Claim
from worker.training import checkpoints

STATES = "states"
UNFINISHED = "-unfinished"


@dataclass(frozen=True)
class Artifacts:
    """The artifact directory, shared by web and workers."""

    root: Path

    def of_run(self, claim: Claim) -> Path:
        """A place for this claim's files, with the resume states of the holder before it, or of the try that it goes
        on from, and nothing else of earlier holders.

        What they left is removed, but not what a later holder has: the one who asks may be the stale one.
        """
        place = self._place(claim)
        earlier = [path for path in self._places(claim.run_id) if _fence(path) < claim.fence]
        # An earlier try keeps what it has: it is another run.
        tried = [] if claim.goes_on_from is None else self._places(claim.goes_on_from)
        held = next((path / STATES for path in reversed([*tried, *earlier]) if (path / STATES).is_dir()), None)
        if held is not None and not (place / STATES).exists():
            checkpoints.linked(held, place / STATES)
        for path in earlier:
            shutil.rmtree(path, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _place(self, claim: Claim) -> Path:
        return self.root / "runs" / f"{claim.run_id}-{claim.fence}"

    def _places(self, run_id: int) -> list[Path]:
        """The places of all claims of a run, in their order."""
        return sorted(self.root.glob(f"runs/{run_id}-*"), key=_fence)

    def forget(self, claim: Claim) -> None:
        """Remove everything of a claim that another one has taken over."""
        shutil.rmtree(self._place(claim), ignore_errors=True)

    def forget_states(self, claim: Claim) -> None:
        """Remove the resume states of a run that has succeeded."""
        shutil.rmtree(self._place(claim) / STATES, ignore_errors=True)

    def stop(self, claim: Claim) -> None:
        """Remove what a failed or cancelled claim wrote, but for what one can go on from: states, unfinished models."""
        place = self._place(claim)
        for path in place.glob("*"):
            if path.name != STATES and not path.name.endswith(UNFINISHED):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with suppress(OSError):  # not empty, or never made
            place.rmdir()

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
        checkpoints.need_room(self.root, number)


def _fence(place: Path) -> int:
    return int(place.name.rpartition("-")[2])


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
