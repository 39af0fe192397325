"""Whether this process is alive, and whether it can serve.

Knows one query. Tells nothing about the install to people who are not signed in.
"""

from fastapi import APIRouter
from pydantic import BaseModel

from app.store import corpus
from app.web.door import DoorDep

router = APIRouter()


class Health(BaseModel):
    """A word."""

    status: str


@router.get("/health/live")
async def live() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/health/ready")
def ready(door: DoorDep) -> Health:
    """The database answers and holds the project."""
    with door.outside() as session:
        return Health(status="ok" if corpus.project(session) is not None else "no project")
