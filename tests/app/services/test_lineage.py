"""Policies that several hosts make at once."""

from concurrent.futures import ThreadPoolExecutor

from app.domain.words import CheckpointKind, PolicyKind, Stage
from app.services import lineage
from app.store.session import Sessions
from app.store.tables import Checkpoint, Policy
from tests.conftest import Work
from tests.support import factories as make
from tests.support import waiting


def test_two_hosts_that_sample_at_once_make_one_policy_of_the_best(own_sessions: Sessions) -> None:
    work = Work(own_sessions, [])
    with work() as session:
        base = make.base_checkpoint(session)
        reward = make.trained_checkpoint(session, make.own_run(session, Stage.REWARD), base, CheckpointKind.REWARD)
        writer = lineage.policy_for(session, base, "writer")
        ids = writer.id, base.id, reward.id

    def best() -> int:
        with work() as session:
            policy, checkpoint = session.get_one(Policy, ids[0]), session.get_one(Checkpoint, ids[1])
            return lineage.best_of(session, policy, checkpoint, 8, session.get_one(Checkpoint, ids[2])).id

    with ThreadPoolExecutor(1) as other:
        with work() as session, work() as watching:
            first = lineage.best_of(session, writer, base, 8, reward).id
            second = other.submit(best)
            waiting.until_somebody_waits(watching)
        assert second.result(30) == first == best()
    with work() as session:
        row = session.get_one(Policy, first)
        assert (row.name, row.kind, row.checkpoint_id) == (
            f"writer-best-of-8-by-{ids[2]}",
            PolicyKind.BEST_OF_N,
            ids[1],
        )
        assert row.settings == {"policy": ids[0], "best_of": 8, "reward_checkpoint": ids[2]}
