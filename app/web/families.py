"""Which policy was trained from which, as a picture: a row for each, below its parent and a step right of it.

Knows coordinates in pixels. The table of policies beside it says the same in words.
"""

from collections.abc import Sequence

from app.services.policies import PolicyView
from app.web.contexts import FamilyMember, FamilyPicture

MOST_SHOWN = 40
"""The newest so many and their ancestors: more would be a picture that nobody takes in."""
ROW, STEP, LEFT, TOP = 30, 26, 12, 18
_LETTER = 8.4


def picture(policies: Sequence[PolicyView]) -> FamilyPicture | None:
    """The family of the policies with weights of their own; None when there is none of them."""
    trained = {each.id: each for each in policies if each.can_write}
    chosen: set[int] = set()
    for newest in sorted(trained, reverse=True)[:MOST_SHOWN]:
        chosen.update(_line(trained, newest))
    if not chosen:
        return None
    # Whatever descends from a policy comes before its next sibling, so that no line crosses a dot.
    ordered = sorted(chosen, key=lambda policy_id: _line(trained, policy_id)[::-1])
    rows = {policy_id: row for row, policy_id in enumerate(ordered)}
    places = {
        policy_id: (LEFT + STEP * (len(_line(trained, policy_id)) - 1), TOP + ROW * row)
        for policy_id, row in rows.items()
    }
    members, lines = [], []
    for policy_id, (x, y) in places.items():
        each = trained[policy_id]
        made = "" if each.round_number is None else f"round {each.round_number}"
        detail = ", ".join(word for word in (made, "current" if each.current else "") if word)
        members.append(FamilyMember(x, y, each.name, detail, each.current))
        if each.parent is not None and each.parent[0] in places:
            above, over = places[each.parent[0]]
            lines.append(f"{above},{over} {above},{y} {x},{y}")
    width = max(member.x + 16 + _LETTER * (len(member.name) + len(member.detail) + 2) for member in members)
    current = next((each.name for each in trained.values() if each.current), None)
    roots = [trained[policy_id].name for policy_id in rows if trained[policy_id].parent is None]
    said = (
        f"{len(members)} policies, trained from {', '.join(roots)}." if len(members) > 1 else f"One policy, {roots[0]}."
    )
    return FamilyPicture(
        width=round(width),
        height=TOP * 2 + ROW * (len(members) - 1),
        members=members,
        lines=lines,
        said=said
        + (f" Current is {current}." if current else "")
        + " The table below says which was trained from which.",
        shown="" if len(members) == len(trained) else f"The newest {MOST_SHOWN} and what they were trained from.",
    )


def _line(trained: dict[int, PolicyView], policy_id: int) -> list[int]:
    """The policy and those it descends from, itself first."""
    line: list[int] = []
    step: int | None = policy_id
    while step is not None and step in trained and step not in line:
        line.append(step)
        parent = trained[step].parent
        step = None if parent is None else parent[0]
    return line
