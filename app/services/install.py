"""What every install holds before anybody comes: the project and the named recipes.

Knows that it may run at every start. Knows nothing of servers; never commits.
"""

from app.services.projects import ensure_project
from app.services.rounds import ensure_recipes
from app.store.session import Session


def furnish(session: Session) -> None:
    """Make the project and the named recipes where they are missing."""
    ensure_recipes(session, ensure_project(session).id)
