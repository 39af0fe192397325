"""An install is furnished once, however often it starts."""

from app.domain.recipes import NAMED
from app.services import guidelines, rounds
from app.services.install import furnish
from tests.conftest import Work


def test_furnishing_twice_makes_nothing_twice(work: Work) -> None:
    with work() as session:
        furnish(session)
        furnish(session)
        found = rounds.recipes(session)
        assert [each.guideline.version for each in guidelines.versions(session)] == [1]
    assert [(row.name, row.version) for row in found] == [(name, 1) for name in sorted(NAMED)]
