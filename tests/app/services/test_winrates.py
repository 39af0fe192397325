"""Win rates between policies: what was chosen for information counts by its probability, so that rates stay right."""

import pytest

from app.services import winrates
from app.store.tables import Comparison
from tests.conftest import Work
from tests.support import factories as make
from tests.support import given


def test_a_comparison_that_was_chosen_rarely_stands_for_many(work: Work) -> None:
    with work() as session:
        ada = make.labeler(session, "Ada")
        comparisons = make.pairs(session, 10).comparisons
        for comparison in comparisons:
            row = session.get_one(Comparison, comparison)
            about = (
                make.summary(session, row.document_id, policy="older"),
                make.summary(session, row.document_id, policy="newer"),
            )
            row.first_summary_id, row.second_summary_id = about
            row.propensity = None
        session.flush()
        # The newer policy loses the first two, which were sure to be put up, and wins all others.
        for place, comparison in enumerate(comparisons):
            given.answer(session, ada, comparison, 2 if place < 2 else 8)
        [plain] = winrates.standings(session).pairings
        for comparison in comparisons[:2]:
            session.get_one(Comparison, comparison).propensity = 1.0
        for comparison in comparisons[2:]:
            session.get_one(Comparison, comparison).propensity = 0.25
        session.flush()
        [weighted] = winrates.standings(session).pairings
    assert (plain.first, plain.rate.raw.value, plain.answers) == ("newer", 0.8, 10)
    assert weighted.rate.raw.value == pytest.approx(32 / 34)
    assert (weighted.rate.raw.n, weighted.answers) == (10, 10)
