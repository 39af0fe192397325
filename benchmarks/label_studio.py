"""Label Studio as a `Desk`: the same loop of labelers, over its own HTTP API.

Knows three of its addresses: next task, new annotation, new project with tasks. It is not installed along with Hone.
In an environment of its own, with as many labelers as tokens are printed:

    python3 -m venv STUDIO && STUDIO/bin/pip install label-studio==1.23.2
    export LABEL_STUDIO_BASE_DATA_DIR=$PWD/STUDIO/data COLLECT_ANALYTICS=0 LATEST_VERSION_CHECK=0
    STUDIO/bin/label-studio start --no-browser --port 8080 --username boss@example.org --password PASSWORD &
    STUDIO/bin/label-studio shell <<'HERE' | grep -o '[0-9a-f]\\{40\\}' > tokens
    from jwt_auth.models import JWTSettings as settings; settings.objects.update(legacy_api_tokens_enabled=True)
    from organizations.models import Organization; from rest_framework.authtoken.models import Token
    from users.models import User; organization = Organization.objects.first()
    users = [User.objects.create_user(f"l{n}@example.org", "PASSWORD", username=f"l{n}") for n in range(10)]
    done = [(organization.add_user(u), setattr(u, "active_organization", organization), u.save()) for u in users]
    print("\\n".join(Token.objects.get_or_create(user=u)[0].key for u in users))
    HERE
    python -m benchmarks.labeling --cases http --peer http://127.0.0.1:8080 --peer-tokens tokens
"""

from typing import Any

from benchmarks.crowd import Answered, Wire
from benchmarks.ground import POST_TIMES, SUMMARY_TIMES, WORDS

PAIR = """
<View>
  <Text name="document" value="$document"/>
  <Text name="one" value="$one"/><Text name="two" value="$two"/>
  <Pairwise name="better" toName="one,two"/>
</View>
"""


def _wire(host: str, port: int, token: str) -> Wire:
    return Wire(host, port, {"authorization": f"Token {token}"})


async def project_of(host: str, port: int, token: str, tasks: int) -> tuple[int, str]:
    """A new project with this many pairs of the benchmark's lengths, one opinion each; its id and the version."""
    wire = _wire(host, port, token)
    release = (await wire.ask("GET", "/api/version"))["release"]
    wanted = {"title": "Benchmark", "label_config": PAIR, "maximum_annotations": 1}
    project = (await wire.ask("POST", "/api/projects/", wanted))["id"]
    pairs: Any = [
        {"document": WORDS * POST_TIMES, "one": WORDS * SUMMARY_TIMES, "two": f"{number} {WORDS * SUMMARY_TIMES}"}
        for number in range(tasks)
    ]
    await wire.ask("POST", f"/api/projects/{project}/import", pairs)
    await wire.close()
    return project, release


class StudioDesk:
    """One of its labelers, who takes the next task of the project and annotates it."""

    def __init__(self, host: str, port: int, token: str, project: int) -> None:
        self._wire = _wire(host, port, token)
        self._project = project

    async def claim(self) -> Any:
        """The next task's id; None when it has none."""
        try:
            return (await self._wire.ask("GET", f"/api/projects/{self._project}/next"))["id"]
        except Answered as answered:
            if answered.status == 404:
                return None
            raise

    async def submit(self, item: Any) -> None:
        """Choose the left one."""
        chosen = {"from_name": "better", "to_name": "one,two", "type": "pairwise", "value": {"selected": "left"}}
        await self._wire.ask("POST", f"/api/tasks/{item}/annotations/", {"result": [chosen], "lead_time": 25})

    async def close(self) -> None:
        """Hang up."""
        await self._wire.close()
