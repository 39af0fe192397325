"""What labelers are told: read, confirmed, written, previewed, published.

Knows pages and forms. Knows nothing of who must confirm (app.services.guidelines) or of Markdown (app.web.markdown).
"""

from typing import Annotated

from fastapi import APIRouter, Form, Response
from markupsafe import Markup

from app.domain.errors import Conflict, Invalid
from app.domain.words import Role
from app.services import guidelines
from app.services.guidelines import LONGEST
from app.store.guidelines import Version
from app.web.contexts import ChangedLine, EditGuidelinesPage, GuidelinesPage, GuidelineVersionPage, VersionLine
from app.web.door import ADMIN, STAFF, Desk, DoorDep, Id
from app.web.markdown import rendered
from app.web.rendering import page, redirect

router = APIRouter()

# Longer than what is taken, so that who writes too much is told so and loses nothing.
Text = Annotated[str, Form(max_length=4 * LONGEST)]
Number = Annotated[int, Form(ge=0, le=10**9)]


def _changes(old: str | None, new: str) -> list[ChangedLine]:
    return [] if old is None else [ChangedLine(each.kind, each.text) for each in guidelines.changes(old, new)]


def _line(version: Version) -> VersionLine:
    guideline = version.guideline
    return VersionLine(guideline.version, version.author or "came with Hone", guideline.created_at, version.confirmed)


@router.get("/guidelines")
def newest(door: DoorDep) -> Response:
    """The guidelines in force. Whoever judges and has not confirmed them can do so at the end of the page."""
    with door.enter() as desk:
        found = guidelines.in_force(desk.session)
        unread = guidelines.unread(desk.session, desk.viewer)
        read = guidelines.last_read(desk.session, desk.viewer) if unread is not None else None
        staff = desk.viewer.role in STAFF
        versions = [_line(each) for each in guidelines.versions(desk.session)] if staff else []
        can_edit = desk.viewer.role is Role.ADMIN
    shown = rendered(found.text if found else "")
    context = GuidelinesPage(
        version=found.version if found else None,
        made=found.created_at if found else None,
        html=shown.html,
        contents=shown.contents,
        to_confirm=unread is not None,
        changes=_changes(read.text, found.text) if read and found else [],
        versions=versions,
        can_edit=can_edit,
    )
    return page(door.request, "guidelines/guidelines.html", context)


@router.post("/guidelines/confirm")
def confirm(door: DoorDep, version: Number = 0) -> Response:
    """The reader has read this version."""
    with door.enter(Role.LABELER) as desk:
        guidelines.confirm(desk.session, desk.viewer, version)
    return redirect("/label", "Thank you. You can read the guidelines at any time.")


def _edit_page(
    desk: Desk, text: str, after: int, *, previewed: bool, errors: dict[str, str] | None = None
) -> EditGuidelinesPage:
    versions = guidelines.versions(desk.session)
    before = next((each for each in versions if each.guideline.version == after), None)
    return EditGuidelinesPage(
        text=text,
        after=after,
        longest=LONGEST,
        previewed=previewed,
        html=rendered(text).html if previewed else Markup(),
        changes=_changes(before.guideline.text, text) if previewed and before else [],
        readers=before.confirmed if before else 0,
        errors=errors or {},
    )


@router.get("/guidelines/edit")
def edit(door: DoorDep) -> Response:
    """Where the next version is written."""
    with door.enter(*ADMIN) as desk:
        found = guidelines.in_force(desk.session)
        context = _edit_page(desk, found.text if found else "", found.version if found else 0, previewed=False)
    return page(door.request, "guidelines/edit.html", context)


@router.post("/guidelines/preview")
def preview(door: DoorDep, text: Text = "", after: Number = 0) -> Response:
    """How a new version would look. Nothing is kept."""
    with door.enter(*ADMIN) as desk:
        try:
            plain, errors = guidelines.written(text), {}
        except Invalid as refusal:
            plain, errors = text, {"text": f"{refusal.what} {refusal.what_to_do}"}
        context = _edit_page(desk, plain, after, previewed=not errors, errors=errors)
    return page(door.request, "guidelines/edit.html", context, 422 if errors else 200)


@router.post("/guidelines")
def publish(door: DoorDep, text: Text = "", after: Number = 0) -> Response:
    """Publish the next version; everybody who judges is asked to read it."""
    try:
        with door.enter(*ADMIN) as desk:
            number = guidelines.publish(desk.session, desk.viewer, text, after)
    except (Invalid, Conflict) as refusal:
        errors = {"text": f"{refusal.what} {refusal.what_to_do}"}
        with door.enter(*ADMIN) as desk:
            context = _edit_page(desk, text, after, previewed=False, errors=errors)
        return page(door.request, "guidelines/edit.html", context, 422 if isinstance(refusal, Invalid) else 409)
    return redirect("/guidelines", f"Version {number} is published. Labelers are asked to read it before they go on.")


@router.get("/guidelines/versions/{version}")
def one(door: DoorDep, version: Id) -> Response:
    """One version, and what it changed."""
    with door.enter(*STAFF) as desk:
        guidelines.one(desk.session, min(version, 2**31 - 1))
        versions = {each.guideline.version: each for each in guidelines.versions(desk.session)}
    found, before = versions[version], versions.get(version - 1)
    context = GuidelineVersionPage(
        line=_line(found),
        html=rendered(found.guideline.text).html,
        changes=_changes(before.guideline.text, found.guideline.text) if before else [],
    )
    return page(door.request, "guidelines/version.html", context)
