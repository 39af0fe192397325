"""Which answers a round's reward model learns from: all that count, unless its recipe leaves some out, and says so."""

from app.domain.recipes import NAMED, LabelsRecipe
from app.domain.words import ComparisonKind, Split
from app.services.projects import the_project
from app.store import answers
from app.store.answers import Judged
from app.store.session import Session
from app.store.tables import Comparison
from tests.conftest import Work
from tests.support import factories as make
from tests.support import given
from worker.stages.reward import chosen

NOTHING = {"kind": 0, "agreement": 0, "confidence": 0}


def _rows(session: Session) -> list[Judged]:
    """Ada and Bob agree on 24 pairs, Eve sides against both; a sentinel, a five and a held-out pair by Ada."""
    ada, bob, eve = (make.labeler(session, name) for name in ("Ada", "Bob", "Eve"))
    for comparison in make.pairs(session, 24).comparisons:
        for viewer, value in ((ada, 1), (bob, 2), (eve, 9)):
            given.answer(session, viewer, comparison, value)
    sentinel, middle = make.pairs(session, 2).comparisons
    session.get_one(Comparison, sentinel).kind = ComparisonKind.SENTINEL
    given.answer(session, ada, sentinel, 1)
    given.answer(session, ada, middle, 5)
    [held_out] = make.pairs(session, split=Split.VALIDATION).comparisons
    given.answer(session, ada, held_out, 6)
    given.answer(session, eve, held_out, 4)
    session.flush()
    return list(answers.judged(session, the_project(session).id))


def test_every_named_recipe_keeps_all(work: Work) -> None:
    with work() as session:
        rows = _rows(session)
    for recipe in NAMED.values():
        assert chosen(rows, recipe.labels) == (rows, NOTHING)


def test_what_a_recipe_leaves_out_is_counted_by_reason(work: Work) -> None:
    with work() as session:
        rows = _rows(session)
    kept, left_out = chosen(rows, LabelsRecipe(least_confidence=2, least_agreement=0.4, leave_out=("sentinel",)))
    assert left_out == {"kind": 1, "agreement": 24, "confidence": 1}
    assert len(kept) == len(rows) - 26
    assert {row.worker for row in kept if row.split is Split.TRAIN} == {"Ada", "Bob"}


def test_held_out_pairs_keep_all_their_answers(work: Work) -> None:
    with work() as session:
        rows = _rows(session)
    kept, left_out = chosen(rows, LabelsRecipe(least_confidence=4, least_agreement=1.0))
    assert [row.worker for row in kept if row.split is Split.VALIDATION] == ["Ada", "Eve"]
    assert left_out["agreement"] + left_out["confidence"] == 74
