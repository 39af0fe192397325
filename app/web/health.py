"""Whether this process is alive, and whether it can serve.

Knows one query. Tells nothing about the install to people who are not signed in.
"""

from fastapi import APIRouter
from pydantic import BaseModel

from app.domain.errors import NotFound
from app.services.projects import the_project
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
    try:
        with door.outside() as session:
            the_project(session)
    except NotFound:
        return Health(status="no project")
    return Health(status="ok")
