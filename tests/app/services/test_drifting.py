"""Whose sentinel answers moved: only theirs, and nobody's while there is too little to say so."""

import pytest
from sqlalchemy import update

from app.domain.words import ComparisonKind
from app.quality import drift
from app.services import quality
from app.services.people import Viewer
from app.store.session import Session
from app.store.tables import Comparison
from tests.conftest import Work
from tests.support import factories, given


def answer(session: Session, labeler: Viewer, values: list[int]) -> None:
    """Sentinel answers in this order, each on a pair of its own."""
    pairs = factories.pairs(session, len(values)).comparisons
    session.execute(update(Comparison).where(Comparison.id.in_(pairs)).values(kind=ComparisonKind.SENTINEL))
    for comparison_id, value in zip(pairs, values, strict=True):
        given.answer(session, labeler, comparison_id, value)


def test_only_who_drifts_is_named(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "REFERENCE", 20)
    with work() as session:
        steady, moved = (factories.labeler(session, name) for name in ("Ada", "Eve"))
        answer(session, steady, [2, 8] * 9)
        assert quality.drifting(session) == [], "no reference yet"
        answer(session, steady, [2, 8] * 10)
        assert quality.drifting(session) == []
        answer(session, moved, [8] * 40)
        assert [name for _, name, _ in quality.drifting(session)] == ["All labelers", "Eve"]
