"""What the labeling benchmarks stand on: a server as `hone run` starts it, and databases filled in a few statements.

Knows the tables. Texts are as long as those of the study on average (a post of 1,300 characters, summaries of 130),
and the database is durable: an answer that counts here is on the disk.
"""

import math
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import text

from app.domain.words import LabelerKind, Role
from app.local import postgres
from app.services.install import furnish
from app.services.passwords import token_hash
from app.services.people import Viewer
from app.store import people, schema
from app.store.session import Sessions, connect, unit_of_work

DOCUMENTS = 2000
WORDS = "It was a long day and I lost the keys. "
POST_TIMES, SUMMARY_TIMES = 33, 3


@dataclass(frozen=True)
class Server:
    """A running PostgreSQL of the benchmark's own, with a furnished database that others are copies of."""

    directory: Path

    @property
    def process(self) -> int:
        """The process above all others of the server."""
        return int((self.directory / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])

    @contextmanager
    def database(self, name: str) -> Iterator["Ground"]:
        """A new database with every migration, furnished as any install, and nothing else."""
        with psycopg.connect(_plain(postgres.url(self.directory, "postgres")), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(postgres.DATABASE)
                )
            )
        url = postgres.url(self.directory, name)
        sessions = connect(url)
        try:
            yield Ground(url, sessions)
        finally:
            sessions.kw["bind"].dispose()


@contextmanager
def server() -> Iterator[Server]:
    """PostgreSQL over a temporary directory, with the settings of `hone run`; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hone-benchmark-") as directory, postgres.running(Path(directory)) as url:
        schema.upgrade(url)
        sessions = connect(url)
        with unit_of_work(sessions, _no_jobs) as session:
            furnish(session)
        sessions.kw["bind"].dispose()
        yield Server(Path(directory))


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _no_jobs(_job: object) -> None:
    """Nothing here waits for a worker."""


@dataclass(frozen=True)
class Worker:
    """A labeler who may begin, and the cookie with which their browser is signed in."""

    viewer: Viewer
    cookie: str


@dataclass(frozen=True)
class Ground:
    """A database to be judged in: one batch, whose comparisons get their slots when they are asked for."""

    url: str
    sessions: Sessions

    def write(self, statement: str, **values: Any) -> None:
        """Change rows."""
        with unit_of_work(self.sessions, _no_jobs) as session:
            session.execute(text(statement), values)

    def ask(self, statement: str, **values: Any) -> int:
        """A number."""
        with self.sessions() as session:
            return int(session.scalar(text(statement), values) or 0)

    def prepare(self, comparisons: int, opinions: int = 1) -> None:
        """Documents, summaries, and one batch with this many comparisons, none of which has a slot yet."""
        documents = min(DOCUMENTS, comparisons)
        # Enough summaries for each document that its pairs suffice: s (s - 1) / 2.
        each = math.ceil((1 + math.sqrt(1 + 8 * math.ceil(comparisons / documents))) / 2)
        with unit_of_work(self.sessions, _no_jobs) as session:
            # Rows that cannot be wrong need no check one by one; a million of them would take minutes.
            session.execute(text("set local session_replication_role = replica"))
            for statement in _PREPARE:
                session.execute(
                    text(statement),
                    {
                        "documents": documents,
                        "each": each,
                        "comparisons": comparisons,
                        "opinions": opinions,
                        "post": WORDS * POST_TIMES,
                        "summary": WORDS * SUMMARY_TIMES,
                    },
                )
        self.tidy()

    def put_up(self, comparisons: int) -> None:
        """Open the slots of the next comparisons, as many for each as the batch asks opinions."""
        self.write(_PUT_UP, comparisons=comparisons)

    def open(self) -> int:
        """How many slots are open."""
        return self.ask("select count(*) from slot where state = 'open'")

    def answered_by(self, worker: Worker) -> None:
        """Let the first opinion on everything that is put up be this labeler's."""
        with unit_of_work(self.sessions, _no_jobs) as session:
            for statement in _ANSWERED:
                session.execute(text(statement), {"labeler": worker.viewer.id})
        self.tidy()

    def workers(self, count: int) -> list[Worker]:
        """Labelers, each signed in, who have read the guidelines."""
        made = []
        with unit_of_work(self.sessions, _no_jobs) as session:
            for number in range(count):
                cookie = secrets.token_urlsafe(32)
                row = people.add_labeler(session, f"Labeler {number}", Role.LABELER, LabelerKind.HUMAN)
                people.add_sign_in(session, row.id, token_hash(cookie), timedelta(days=1), "benchmark")
                made.append(Worker(Viewer(row.id, row.name, Role.LABELER, LabelerKind.HUMAN), cookie))
            session.flush()
            session.execute(
                text(
                    "insert into confirmation (labeler_id, guideline_id) select l.id, g.id from labeler l, guideline g"
                )
            )
        return made

    def tidy(self) -> None:
        """What autovacuum and the checkpointer do within minutes on any server.

        Without the checkpoint a commit that is measured waits, now and then, for the disk to take a million rows.
        """
        with psycopg.connect(_plain(self.url), autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")


_PREPARE = (
    """
    insert into document (project_id, source_id, community, title, post, split)
    select p.id, 'benchmark ' || n, 'tifu', 'Title ' || n, :post || n, 'train'
    from project p, generate_series(1, :documents) n
    """,
    "insert into policy (project_id, name, kind) select id, 'benchmark', 'imported' from project",
    """
    insert into summary (document_id, policy_id, text)
    select d.id, p.id, ' ' || n || ' ' || :summary
    from document d, policy p, generate_series(1, :each) n where p.name = 'benchmark'
    """,
    "insert into batch (project_id, name, opinions) select id, 'benchmark', :opinions from project",
    """
    insert into comparison (batch_id, document_id, first_summary_id, second_summary_id, reason)
    select b.id, one.document_id, one.id, two.id, 'benchmark'
    from batch b, summary one join summary two on two.document_id = one.document_id and two.id > one.id
    limit :comparisons
    """,
)
_PUT_UP = """
    insert into slot (batch_id, comparison_id, number)
    select c.batch_id, c.id, n
    from (
        select c.id, c.batch_id, b.opinions from comparison c join batch b on b.id = c.batch_id
        where c.id > (select coalesce(max(comparison_id), 0) from slot) order by c.id limit :comparisons
    ) c, generate_series(1, c.opinions) n
    order by c.id, n
"""
_ANSWERED = (
    """
    insert into showing (slot_id, labeler_id, swapped, page_version)
    select id, :labeler, false, 'benchmark' from slot where number = 1
    """,
    """
    update slot set state = 'done', labeler_id = :labeler, showing_id = w.id, done_at = now()
    from showing w where w.slot_id = slot.id and w.labeler_id = :labeler
    """,
    """
    insert into preference (comparison_id, labeler_id, slot_id, showing_id, version, value, surplus, seconds, key)
    select comparison_id, labeler_id, id, showing_id, 1, 3, false, 20, gen_random_uuid()
    from slot where labeler_id = :labeler
    """,
    """
    insert into tally (labeler_id, day, answers)
    select labeler_id, current_date - 1, count(*) from slot where labeler_id = :labeler group by labeler_id
    """,
)
