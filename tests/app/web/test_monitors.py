"""The over-optimisation monitor on the page of a round: alarms in words, plots with their numbers, the decision."""

import re

from starlette.testclient import TestClient

from app.domain.words import Stage
from app.store import runs
from tests.conftest import Work
from tests.support import pretended


def part(html: str, name: str) -> str:
    """A part of the page without its markup."""
    found = html.split(f'<section id="{name}"')[1].split("\n</section>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found.partition(">")[2])).strip()


def test_before_there_is_anything_to_see_it_is_hidden(work: Work, researcher: TestClient) -> None:
    with work() as session:
        number = pretended.launch(session, pretended.boss(session))
    html = researcher.get(f"/rounds/{number}").text
    assert re.search(r'<section id="monitor" class="stack" data-part hidden', html)
    assert 'id="decision-title"' not in html


def test_alarms_plots_and_numbers_while_it_runs(work: Work, researcher: TestClient) -> None:
    with work() as session:
        number = pretended.launch(session, pretended.boss(session))
        pretended.carry_out(session, number, Stage.SFT, Stage.SAMPLE, Stage.REWARD)
        claim = pretended.take(session, number)
        points = [("ppo/kl", step, 20.0 * step) for step in range(4)]
        runs.add_points(session, claim.run_id, [*points, *(("ppo/score", step, step - 1.0) for step in range(4))])
    html = researcher.get(f"/rounds/{number}").text
    said = part(html, "monitor")
    assert "No alarm." in said, "40 nats over the last three"
    assert "agrees with labelers on 69 % of 16 held-out pairs. So few pairs do not show that it follows people" in said
    [label] = re.findall(r'aria-label="(Score against KL\. [^"]+)"', html)
    assert "The last of 4 rollouts has a score of 2.00 at a KL of 60.00 nats." in label
    assert "3 60.00 2.00 –" in said, "the table beside the plot"
    assert "Agrees with labelers, all pairs held-out pairs of these policies 68.8 % 16 44.4 % to 85.8 %" in said
    with work() as session:
        runs.add_points(session, claim.run_id, [("ppo/kl", 4, 80.0), ("ppo/score", 4, 3.0)])
    alarmed = part(researcher.get(f"/rounds/{number}").text, "monitor")
    assert "The policy is far from the fine-tuned one: its KL was 60.0 nats over the last 3 rollouts" in alarmed
    assert "No alarm." not in alarmed


def test_the_decision_stands_with_the_results(work: Work, researcher: TestClient) -> None:
    with work() as session:
        pretended.improve(session, pretended.launch(session, pretended.boss(session)))
    html = researcher.get("/rounds/1").text
    said = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.split('id="decision-title"')[1].split("</section>")[0]))
    assert "round1-ppo promoted" in said and "Nothing in the recipe&#39;s gate speaks against it." in said
    assert "Decided by itself" in said
    assert re.search(r"round1-ppo 1 3\.7\d 65 % 54 to 76, n 4 – n 0", part(html, "monitor"))
    assert (
        "1 policy, none judged by people yet."
        in re.findall(r'aria-label="(Preferred to the references, by policy\. [^"]+)"', html)[0]
    )
