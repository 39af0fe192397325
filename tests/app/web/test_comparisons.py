"""Admins look at a pair with everything that was said of it, and change what is asked."""

import re
from html import unescape

from starlette.testclient import TestClient

from app.domain.protocols import Protocol
from app.domain.words import BatchPurpose, FlagReason, SkipReason, SlotState
from app.services import judging
from app.services.people import Viewer
from app.store import people
from app.store.session import Session
from app.store.tables import Comparison, Document
from tests.app.web.conftest import Front
from tests.conftest import Work
from tests.support import factories as make

EVIL = "<script>alert(1)</script>"
WHY = {"reason": "A wrong click."}


def viewer(session: Session, name: str) -> Viewer:
    found = people.labeler_by_name(session, name)
    assert found is not None
    return Viewer(found.id, found.name, found.role, found.kind)


def states(work: Work, pair: int) -> list[SlotState]:
    with work() as session:
        return make.slot_states(session, pair)


def slot(work: Work, pair: int, number: int = 1) -> str:
    with work() as session:
        return str(make.slots(session, pair)[number - 1].id)


def text_of(page: str) -> str:
    """What a reader sees of the main part, on one line."""
    main = page[page.index("<main") : page.index("</main>")]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())


def test_a_pair_is_shown_with_all_that_was_said_of_it(admin: TestClient, work: Work) -> None:
    with work() as session:
        pairs = make.pairs(session, 1, opinions=3, name=f"first {EVIL}")
        pair = pairs.comparisons[0]
        ada, bob, cyd = (make.labeler(session, name) for name in ("Ada", "Bob", "Cyd"))
        [showing] = make.hold(session, ada)
        swapped = make.shown(session, showing).swapped
        judging.answer(
            session,
            ada,
            showing_id=showing,
            key=showing,
            value=2,
            explanation=f"Because {EVIL}",
            seconds=61,
            steps={"compare": 50.0, "explain": 11.0},
        )
        [passed] = make.hold(session, bob)
        judging.skip(session, bob, showing_id=passed, reason=SkipReason.OFFENSIVE, comment=f"No {EVIL}")
        [asked] = make.hold(session, cyd)
        judging.flag(session, cyd, showing_id=asked, key=asked, reason=FlagReason.QUESTION, comment=f"Why {EVIL}?")
        document = session.get_one(Document, session.get_one(Comparison, pair).document_id)
        document.title = f"A cat {EVIL}"
        post = document.post
    page = admin.get(f"/comparisons/{pair}").text
    assert EVIL not in page
    seen = text_of(page)
    expected = "2, the first is clearly better" if not swapped else "8, the second is clearly better"
    for words in (
        f"A cat {EVIL}",
        post,
        "First summary by ref",
        "Second summary by other",
        "Kind ordinary",
        "Why paired test",
        "Its batch asks for 3 opinions on a pair of this kind.",
        expected,
        "2, A is clearly better (A was the second)" if swapped else "2, A is clearly better (A was the first)",
        f"Because {EVIL}",
        "61 s (compare 50 s, explain 11 s)",
        f"Bob , The content is too unpleasant No {EVIL}",
        f"Cyd , A question ( look at it ) Why {EVIL}?",
        "counts",
        "No notes were written.",
    ):
        assert words in seen, words


def test_notes_are_shown_with_the_summary_they_are_about(admin: TestClient, work: Work) -> None:
    with work() as session:
        pair = make.pairs(session, protocol=Protocol(notes_first=True)).comparisons[0]
        ada = make.labeler(session, "Ada")
        [showing] = make.hold(session, ada)
        make.note(session, ada, showing)
        make.note(session, ada, showing)
    seen = text_of(admin.get(f"/comparisons/{pair}").text)
    for words in (
        "Ada , first summary, version 1 ",
        "Ada , second summary, version 1 ",
        "Ada , first summary, version 2, after the document was shown",
    ):
        assert words in seen, words


def test_opinions_are_made_void_taken_back_and_asked_again(admin: TestClient, labeler: TestClient, work: Work) -> None:
    with work() as session:
        pair = make.pairs(session, opinions=2).comparisons[0]
        make.say(session, viewer(session, "Ada"), make.hold(session, viewer(session, "Ada"))[0])
    assert labeler
    at = f"/comparisons/{pair}"
    first = slot(work, pair)
    done = admin.post(f"{at}/void", data={"slot": first, **WHY})
    assert (done.status_code, done.headers["location"]) == (303, at)
    page = admin.get(at).text
    assert "Opinion 1 does not count any more; what was answered stays stored." in page
    assert "void, was given" in page
    assert states(work, pair) == [SlotState.VOID, SlotState.OPEN]
    admin.post(f"{at}/take-back", data={"slot": first, **WHY})
    assert "Opinion 1 counts again." in admin.get(at).text
    assert states(work, pair) == [SlotState.DONE, SlotState.OPEN]
    admin.post(f"{at}/ask-again", data=WHY)
    page = text_of(admin.get(at).text)
    assert "Opinion 3 is asked for." in page
    assert "asks for 2 opinions on a pair of this kind; 1 more was asked for here." in page
    admin.post(f"{at}/void-open", data=WHY)
    page = text_of(admin.get(at).text)
    assert "2 open opinions became void." in page
    assert "; 1 of them is no longer asked for." in page
    assert "Ask nobody any more" not in page, "there is nothing open"
    assert states(work, pair) == [SlotState.DONE, SlotState.VOID, SlotState.VOID]


def test_every_change_asks_first_and_needs_a_reason(admin: TestClient, work: Work) -> None:
    with work() as session:
        pair = make.pairs(session, opinions=2).comparisons[0]
    at = f"/comparisons/{pair}"
    admin.post(f"{at}/void", data={"slot": slot(work, pair, 2), **WHY})
    page = admin.get(at).text
    for action in ("void", "take-back", "ask-again", "void-open"):
        assert re.search(rf'action="{at}/{action}" data-confirm="[^"]+\?', page), action
    for action, typed in (
        ("void", {"slot": slot(work, pair)}),
        ("take-back", {"slot": slot(work, pair, 2)}),
        ("ask-again", {}),
        ("void-open", {}),
    ):
        answer = admin.post(f"{at}/{action}", data={**typed, "reason": "  "})
        assert answer.status_code == 422, action
        assert f'<a href="#field-{action}-reason">Say why.' in answer.text
        assert f'id="field-{action}-reason"' in answer.text
    assert states(work, pair) == [SlotState.OPEN, SlotState.VOID]
    for wrong in ("", "x", "999999"):
        answer = admin.post(f"{at}/void", data={"slot": wrong, "reason": "Kept words."})
        assert answer.status_code == 422, wrong
        assert 'href="#field-void-slot"' in answer.text
        assert 'value="Kept words."' in answer.text
    twice = admin.post(f"{at}/void", data={"slot": slot(work, pair, 2), **WHY})
    assert (twice.status_code, "Opinion 2 is void already." in twice.text) == (409, True)


def test_a_gold_pair_can_only_be_made_void(admin: TestClient, work: Work) -> None:
    with work() as session:
        [gold] = make.standing(session, BatchPurpose.GOLD)
        make.labeler(session)
    page = admin.get(f"/comparisons/{gold}").text
    assert "It is put before each labeler once." in text_of(page)
    assert "Verdict:" in page
    assert "/ask-again" not in page
    refused = admin.post(f"/comparisons/{gold}/ask-again", data=WHY)
    assert (refused.status_code, "once" in refused.text) == (409, True)


def test_the_pairs_of_a_batch_are_found_and_paged(admin: TestClient, work: Work) -> None:
    with work() as session:
        pairs = make.pairs(session, 60, name=f"big {EVIL}")
        other = make.pairs(session, 1)
    at = f"/batches/{pairs.batch_id}/comparisons"

    def shown(path: str) -> list[int]:
        return [int(each) for each in re.findall(r'href="/comparisons/(\d+)"', admin.get(path).text)]

    assert shown(at) == list(pairs.comparisons[:50])
    page = admin.get(at).text
    assert EVIL not in page
    [following] = [unescape(each) for each in re.findall(r'href="([^"]*)" rel="next"', page)]
    assert shown(following) == list(pairs.comparisons[50:])
    [back] = [unescape(each) for each in re.findall(r'href="([^"]*)" rel="prev"', admin.get(following).text)]
    assert shown(back) == list(pairs.comparisons[:50])
    assert 'rel="prev"' not in admin.get(back).text
    assert shown(f"{at}?kind=sentinel") == []
    assert "Nothing found" in admin.get(f"{at}?kind=sentinel").text
    assert shown(f"{at}?kind=nonsense&state=nonsense") == list(pairs.comparisons[:50])
    admin.post(f"/comparisons/{pairs.comparisons[7]}/void-open", data=WHY)
    assert shown(f"{at}?state=void") == [pairs.comparisons[7]]
    assert shown(f"{at}?state=done") == [pairs.comparisons[7]]
    further = re.findall(r'href="([^"]*)" rel="next"', admin.get(f"{at}?state=open&words=title").text)
    assert [unescape(each) for each in further] == [f"{at}?words=title&state=open&after={pairs.comparisons[50]}"], (
        "a page further on keeps what was looked for"
    )
    assert "No pairs here" in admin.get(f"{at}?after={2**62}").text
    assert shown(f"/batches/{other.batch_id}/comparisons") == list(other.comparisons)


def test_nobody_but_admins_sees_who_wrote_what(
    admin: TestClient, researcher: TestClient, labeler: TestClient, front: Front, work: Work
) -> None:
    with work() as session:
        pairs = make.pairs(session)
        [pair] = pairs.comparisons
    for client in (researcher, labeler):
        assert client.get(f"/comparisons/{pair}").status_code == 403
        assert client.get(f"/batches/{pairs.batch_id}/comparisons").status_code == 403
        for action in ("void", "take-back", "ask-again", "void-open"):
            assert client.post(f"/comparisons/{pair}/{action}", data={"slot": "1", **WHY}).status_code == 403
    assert states(work, pair) == [SlotState.OPEN]
    for path in ("/comparisons/999999", "/batches/999999/comparisons"):
        assert admin.get(path).status_code == 404
    assert admin.post("/comparisons/999999/ask-again", data=WHY).status_code == 404
    assert admin.get(f"/batches/{pairs.batch_id}/comparisons?after=-1").status_code in (400, 404, 422)
    assert front
