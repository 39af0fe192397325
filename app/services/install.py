"""What every install holds before anybody comes: the project, the named recipes, guidelines.

Knows that it may run at every start. Knows nothing of servers; never commits.
"""

from app.services import guidelines
from app.services.projects import ensure_project
from app.services.rounds import ensure_recipes
from app.store.session import Session


def furnish(session: Session) -> None:
    """Make the project, the named recipes and the first guidelines where they are missing."""
    project_id = ensure_project(session).id
    ensure_recipes(session, project_id)
    guidelines.ensure(session, project_id)
