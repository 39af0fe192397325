"""Policies: the list with where each comes from, one policy with its checkpoint, and which one writes next.

Knows routes and words. Knows nothing of how lineage is found (app.services.policies).
"""

from fastapi import APIRouter, Response

from app.domain.errors import Conflict
from app.domain.words import PolicyKind, Role
from app.services import policies
from app.services.policies import PolicyDetail, PolicyView
from app.web import telling
from app.web.contexts import Ancestor, PoliciesPage, PolicyLine, PolicyPage, Written
from app.web.door import ADMIN, STAFF, DoorDep, Id
from app.web.rendering import page, redirect

router = APIRouter()

_KINDS = {
    PolicyKind.REF: "reference",
    PolicyKind.CHECKPOINT: "checkpoint",
    PolicyKind.BEST_OF_N: "best of n",
    PolicyKind.FEW_SHOT: "few-shot",
    PolicyKind.IMPORTED: "imported",
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


@router.get("/policies")
def policies_page(door: DoorDep) -> Response:
    """All policies: those with weights first, then those that only have texts."""
    with door.enter(*STAFF) as desk:
        views = policies.policies(desk.session)
        context = PoliciesPage(
            policies=[line(view) for view in views if view.checkpoint is not None],
            writers=[line(view) for view in views if view.checkpoint is None],
            can_change=desk.viewer.role is Role.ADMIN,
        )
    return page(door.request, "policies/policies.html", context)


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
    """One policy: its checkpoint, what it descends from, what it wrote last."""
    with door.enter(*STAFF) as desk:
        detail = policies.policy(desk.session, policy_id)
        checkpoint = detail.policy.checkpoint
        context = PolicyPage(
            policy=line(detail.policy),
            about=_ABOUT[detail.policy.kind],
            details=_details(detail),
            snapshot=[] if checkpoint is None else telling.snapshot(checkpoint.snapshot),
            lineage=[
                Ancestor(
                    name=checkpoint.kind.value if by is None else by[1],
                    policy_id=None if by is None else by[0],
                    digest=checkpoint.digest[:12],
                    made=checkpoint.created_at,
                )
                for checkpoint, by in detail.lineage
            ],
            written=[Written(each.document_id, each.title, each.text, each.finished) for each in detail.written],
            can_change=desk.viewer.role is Role.ADMIN,
        )
    return page(door.request, "policies/policy.html", context)


@router.post("/policies/{policy_id}/make-current")
def make_current(door: DoorDep, policy_id: Id) -> Response:
    """Let a policy write the next pairs."""
    try:
        with door.enter(*ADMIN) as desk:
            name = policies.make_current(desk.session, desk.viewer, policy_id)
    except Conflict as refusal:
        return redirect("/policies", f"{refusal.what} {refusal.what_to_do}", "warn")
    return redirect("/policies", f"{name} writes the next pairs.")
