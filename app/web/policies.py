"""Policies: how they descend and stand, decisions on which one writes next, one policy, several side by side, cards.

Knows routes, forms and words. How lineage is found is in app.services.policies, what a decision does in promotions.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Response

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.words import Decided, LabelerKind, PolicyKind, Role
from app.services import policies, promotions, winrates
from app.services.policies import PolicyDetail, PolicyView, SideBySide
from app.services.promotions import LONGEST_REASON, Decision, Evidence
from app.services.winrates import Pairing, Standings
from app.store.promotions import Origin
from app.web import cards, families, telling
from app.web.contexts import (
    Ancestor,
    CheckpointLine,
    ChosenPolicies,
    PoliciesPage,
    PolicyLine,
    PolicyPage,
    PolicyTexts,
    PromotionLine,
    ResultLine,
    RollBack,
    SideBySidePage,
    WinRateLine,
    Written,
)
from app.web.door import ADMIN, STAFF, Desk, DoorDep, Id
from app.web.quality import percent, share
from app.web.rendering import page, redirect

router = APIRouter()

WIN_RATES_SHOWN = 30
SIDES = 3
Simulated = Annotated[bool, Query()]
Choice = Annotated[str, Query(max_length=19)]
Text = Annotated[str, Form(max_length=4 * LONGEST_REASON)]

_KINDS = {
    PolicyKind.REF: "reference",
    PolicyKind.CHECKPOINT: "checkpoint",
    PolicyKind.BEST_OF_N: "best of n",
    PolicyKind.FEW_SHOT: "few-shot",
    PolicyKind.IMPORTED: "imported",
}
_OUTCOMES = {
    Decided.PROMOTED: ("succeeded", "promoted"),
    Decided.WAITS: ("paused", "waits for an admin"),
    Decided.ROLLED_BACK: ("cancelled", "rolled back to"),
}
_ABOUT = {
    PolicyKind.REF: "The human reference summaries that came with the documents.",
    PolicyKind.CHECKPOINT: "A model that writes summaries.",
    PolicyKind.BEST_OF_N: "The best of several summaries of one model, by a reward model.",
    PolicyKind.FEW_SHOT: "A model that is shown a few examples.",
    PolicyKind.IMPORTED: "Came with imported comparisons; Hone has its texts and not its weights.",
}


def line(view: PolicyView) -> PolicyLine:
    """A policy in a list."""
    return PolicyLine(
        id=view.id,
        name=view.name,
        kind=_KINDS[view.kind],
        current=view.current,
        round=view.round_number,
        digest=None if view.checkpoint is None else view.checkpoint.digest[:12],
        parent=None if view.parent is None else view.parent[1],
        parent_id=None if view.parent is None else view.parent[0],
        summaries=view.summaries,
        made=view.created_at,
        can_become_current=view.can_write and not view.current,
    )


# Decisions and figures


def evidence_lines(known: Evidence) -> list[ResultLine]:
    """What was known of a policy, as lines of figures."""
    held = known.to_json()
    return [
        *telling.measures(held["measures"] | ({"accuracy": held["accuracy"]} if known.accuracy.n else {})),
        *(
            line
            for rate in held["win_rates"]
            for line in (
                telling.share(f"Preferred to {rate['against']}", "by people, as they are", rate["raw"]),
                telling.share(f"Preferred to {rate['against']} at equal length", "by people", rate["controlled"]),
            )
        ),
    ]


def decision_line(decision: Decision) -> PromotionLine:
    """A decision in a list."""
    state, words = _OUTCOMES[decision.outcome]
    return PromotionLine(
        policy_id=decision.policy_id,
        policy=decision.policy,
        before=decision.before,
        state=state,
        words=words,
        reason=decision.reason,
        by=decision.decided_by or "by itself",
        at=decision.at,
        round=decision.evidence.round_number,
        alarms=decision.evidence.alarms,
        evidence=evidence_lines(decision.evidence),
    )


def _longer(pairing: Pairing) -> str:
    if pairing.rate.log_ratio is None:
        return telling.NONE
    more = math.exp(pairing.rate.log_ratio) - 1
    return f"{percent(abs(more))} {'longer' if more > 0 else 'shorter'}" if abs(more) >= 0.005 else "as long"


def _win_rate(pairing: Pairing) -> WinRateLine:
    return WinRateLine(
        first_id=pairing.first_id,
        first=pairing.first,
        second_id=pairing.second_id,
        second=pairing.second,
        raw=share(pairing.rate.raw),
        controlled=share(pairing.rate.controlled),
        length=_longer(pairing),
        answers=f"{pairing.answers:,}",
    )


def _length_words(found: Standings) -> str:
    slope = found.slope
    if slope.value is None or slope.low is None or slope.high is None:
        return "At equal length: from ten comparisons of two policies on."
    # The slope belongs to a length 2.72 times as long; a tenth more is easier to picture.
    tenth = [50 * (2 / (1 + 1.1**-each) - 1) for each in (slope.value, slope.low, slope.high)]
    return (
        "At equal length: a logistic regression of the preferred side on the pair of policies and the logarithm of the "
        "ratio of the two lengths in characters (P App. F), read where they are as long. Of two summaries that are "
        f"otherwise as good, one that is a tenth longer is preferred {tenth[0]:+.1f} points more often than half the "
        f"time ({tenth[1]:+.1f} to {tenth[2]:+.1f})."
    )


# Pages


def _checkpoint(origin: Origin) -> CheckpointLine:
    row = origin.checkpoint
    return CheckpointLine(
        id=row.id,
        name=origin.policy or f"{'' if origin.round_number is None else f'round{origin.round_number}-'}{row.kind}",
        kind=row.kind,
        round=origin.round_number,
        parent_id=row.parent_id,
        parent=origin.parent_policy or origin.parent_kind,
        digest=row.digest[:12],
        bytes=row.bytes,
        made=row.created_at,
    )


@router.get("/policies")
def policies_page(door: DoorDep, simulated: Simulated = False) -> Response:
    """All policies: how they descend, how people like them, and which one writes next by whose decision."""
    with door.enter(*STAFF) as desk:
        views = policies.policies(desk.session)
        undoable = promotions.undoable(desk.session)
        human = (LabelerKind.HUMAN,)
        found = winrates.standings(desk.session, (*human, LabelerKind.SIMULATED) if simulated else human)
        context = PoliciesPage(
            policies=[line(view) for view in views if view.can_write],
            writers=[line(view) for view in views if not view.can_write],
            family=families.picture(views),
            waiting=[decision_line(each) for each in promotions.waiting(desk.session)],
            decisions=[decision_line(each) for each in promotions.decisions(desk.session)],
            roll_back=None
            if undoable is None or undoable.before_id is None or undoable.before is None
            else RollBack(undoable.before_id, undoable.before, undoable.policy),
            win_rates=[_win_rate(each) for each in found.pairings[:WIN_RATES_SHOWN]],
            more_win_rates=max(0, len(found.pairings) - WIN_RATES_SHOWN),
            length_words=_length_words(found),
            simulated=simulated,
            checkpoints=[_checkpoint(each) for each in policies.checkpoints(desk.session)],
            can_change=desk.viewer.role is Role.ADMIN,
        )
    return page(door.request, "policies/policies.html", context)


def _whole(text: str) -> int | None:
    number = int(text) if text.isascii() and text.isdecimal() else 0
    return number if 1 <= number < 2**63 else None


def _address(chosen: Sequence[str], document: int | None) -> str | None:
    if document is None:
        return None
    asked = {name: value for name, value in zip("abc", chosen, strict=False) if value}
    return f"/policies/compare?{urlencode(asked | {'document': document})}"


def _proposed(views: Sequence[PolicyView]) -> list[int]:
    """The newest policies with weights of their own that have written something, and the references."""
    trained = [each.id for each in views if each.can_write and each.summaries]
    references = [each.id for each in views if each.kind is PolicyKind.REF]
    return [*trained[: SIDES - 1], *references][:SIDES]


def _side_by_side(
    desk: Desk,
    views: Sequence[PolicyView],
    chosen: list[str],
    document: str,
    found: SideBySide | None,
    problem: str | None,
) -> SideBySidePage:
    return SideBySidePage(
        policies=[(str(each.id), f"{each.name} ({each.summaries:,} summaries)") for each in views],
        chosen=ChosenPolicies(*[*chosen, "", "", ""][:SIDES]),
        document=document if found is None else str(found.document_id),
        title="" if found is None else found.title,
        community="" if found is None else found.community,
        text="" if found is None else found.post,
        there=found is not None,
        sides=[] if found is None else [PolicyTexts(each.policy_id, each.policy, each.texts) for each in found.sides],
        position=""
        if found is None
        else f"{found.place:,} of {found.count:,} documents that all of them wrote about"
        if found.place
        else f"Not all of them wrote about this one; there are {found.count:,} about which they did",
        earlier=None if found is None else _address(chosen, found.before),
        later=None if found is None else _address(chosen, found.after),
        errors={} if problem is None else {"a": problem},
    )


@router.get("/policies/compare")
def side_by_side(door: DoorDep, a: Choice = "", b: Choice = "", c: Choice = "", document: Choice = "") -> Response:
    """Two or three policies on one document."""
    with door.enter(*STAFF) as desk:
        views = policies.policies(desk.session)
        asked = [each for each in (a, b, c) if each]
        chosen = asked or [str(each) for each in _proposed(views)]
        ids = [number for each in chosen if (number := _whole(each)) is not None]
        found, problem = None, None
        if len(set(ids)) < 2 or len(set(ids)) < len(chosen):
            problem = "Choose two or three different policies." if asked else None
        elif document and _whole(document) is None:
            problem = "The number of a document is digits only; its page's address ends with it."
        else:
            try:
                found = policies.side_by_side(desk.session, ids, _whole(document))
            except NotFound as refusal:
                problem = f"{refusal.what} {refusal.what_to_do}"
        context = _side_by_side(desk, views, chosen, document, found, problem)
    return page(door.request, "policies/compare.html", context, 422 if problem else 200)


@router.get("/policies/checkpoints/{checkpoint_id}")
def card_page(door: DoorDep, checkpoint_id: Id) -> Response:
    """The model card of a checkpoint."""
    with door.enter(*STAFF) as desk:
        context = cards.page(policies.card(desk.session, checkpoint_id))
    return page(door.request, "policies/card.html", context)


@router.get("/policies/checkpoints/{checkpoint_id}/card.md")
def card_file(door: DoorDep, checkpoint_id: Id) -> Response:
    """The model card as a file."""
    with door.enter(*STAFF) as desk:
        card = policies.card(desk.session, checkpoint_id)
        text = cards.markdown(card)
    headers = {"content-disposition": f'attachment; filename="checkpoint-{card.checkpoint.id}.md"'}
    return Response(text, media_type="text/markdown; charset=utf-8", headers=headers)


def _details(detail: PolicyDetail) -> list[tuple[str, str]]:
    checkpoint = detail.policy.checkpoint
    if checkpoint is None:
        return []
    return [
        ("Digest", checkpoint.digest),
        ("Recipe", str(checkpoint.recipe.get("name") or telling.NONE)),
        ("Code revision", checkpoint.code_revision or telling.NONE),
        ("Size", f"{checkpoint.bytes / 1_000_000:,.1f} MB"),
        ("Directory", checkpoint.path),
    ]


@router.get("/policies/{policy_id}")
def policy_page(door: DoorDep, policy_id: Id) -> Response:
    """One policy: its checkpoint, what it descends from, what is known of it, what it wrote last."""
    with door.enter(*STAFF) as desk:
        detail = policies.policy(desk.session, policy_id)
        checkpoint = detail.policy.checkpoint
        known = promotions.evidence(desk.session, policy_id)
        context = PolicyPage(
            policy=line(detail.policy),
            about=_ABOUT[detail.policy.kind],
            checkpoint=None if checkpoint is None else checkpoint.id,
            details=_details(detail),
            snapshot=[] if checkpoint is None else telling.snapshot(checkpoint.snapshot),
            lineage=[
                Ancestor(
                    id=checkpoint.id,
                    name=checkpoint.kind.value if by is None else by[1],
                    policy_id=None if by is None else by[0],
                    digest=checkpoint.digest[:12],
                    made=checkpoint.created_at,
                )
                for checkpoint, by in detail.lineage
            ],
            known=evidence_lines(replace(known, win_rates=[])) if checkpoint is not None else [],
            alarms=known.alarms,
            win_rates=[_win_rate(each) for each in winrates.standings(desk.session).with_policy(policy_id)],
            decisions=[decision_line(each) for each in promotions.decisions_on(desk.session, policy_id)],
            written=[Written(each.document_id, each.title, each.text, each.finished) for each in detail.written],
            can_change=desk.viewer.role is Role.ADMIN,
            longest=LONGEST_REASON,
        )
    return page(door.request, "policies/policy.html", context)


@router.post("/policies/{policy_id}/promote")
def promote(door: DoorDep, policy_id: Id, reason: Text = "") -> Response:
    """Let a policy write the next pairs."""
    try:
        with door.enter(*ADMIN) as desk:
            name = promotions.promote(desk.session, desk.viewer, policy_id, reason)
    except (Conflict, Invalid) as refusal:
        return redirect("/policies", f"{refusal.what} {refusal.what_to_do}", "warn")
    return redirect("/policies", f"{name} writes the next pairs. Roll back to undo it.")


@router.post("/policies/{policy_id}/roll-back")
def roll_back(door: DoorDep, policy_id: Id) -> Response:
    """Undo the last change."""
    try:
        with door.enter(*ADMIN) as desk:
            name = promotions.roll_back(desk.session, desk.viewer, policy_id)
    except Conflict as refusal:
        return redirect("/policies", f"{refusal.what} {refusal.what_to_do}", "warn")
    return redirect("/policies", f"{name} writes the next pairs again.")
