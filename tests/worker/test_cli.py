"""The command that runs stages from files: what it makes, what it goes on from, and what it says when it cannot."""

import errno
import fcntl
import gzip
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from app.domain.splits import SALT, TEST_SHARE, VALIDATION_SHARE, split_by_hash
from app.domain.words import Split
from app.store.tables import Project
from tests.support import tiny_models
from worker.cli import command
from worker.cli.terminal import FileSink
from worker.training import checkpoints, sft
from worker.training.metrics import DOCS

RECIPE = {
    "name": "quick",
    "precision": "fp32",
    "sampling": {"max_query_tokens": 64, "max_summary_tokens": 12, "batch": 8},
    "sft": {"batch": 4, "micro_batch": 4, "learning_rate": 5e-3},
    "reward": {"batch": 4, "micro_batch": 4, "learning_rate": 3e-3, "max_summary_tokens": 24},
    "ppo": {"episodes": 8, "batch": 4, "micro_batch": 4, "epochs": 1},
    "evaluation": {"documents": 3, "batch": 4},
}
SPLITS = ["train"] * 12 + ["valid1"] * 4 + ["test"] * 2
JUDGED = ["train"] * 8 + ["valid2"] * 3


def document(number: int) -> dict[str, Any]:
    made = tiny_models.demonstration(number)
    query = made.query
    texts = {"subreddit": query.subreddit, "title": query.title, "post": query.post, "summary": made.summary_text}
    return {"id": f"t3_{number}", "split": SPLITS[number], **texts}


def comparison(number: int) -> dict[str, Any]:
    """A pair with the reference on one side, whose longer text is preferred."""
    made = tiny_models.demonstration(100 + number)
    texts = [f" {made.summary_text}", f" {tiny_models.words(9, number)}"]
    post = {"id": f"t3_c{number}", "subreddit": "stories", "title": made.query.title, "post": made.query.post}
    return {
        "info": post,
        "split": JUDGED[number],
        "summaries": [{"text": texts[0], "policy": "ref"}, {"text": texts[1], "policy": "sup"}],
        "choice": 1,
        "worker": "w",
        "batch": "b",
        "extra": {"confidence": 6 + number % 4},
    }


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def result(out: Path) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads((out / "result.json").read_text())["result"])


class Place:
    """Files to work from, and the command over them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recipe = root / "recipe.json"
        self.recipe.write_text(json.dumps(RECIPE))
        self.documents = written(root / "documents.jsonl.gz", [document(number) for number in range(len(SPLITS))])
        self.comparisons = written(root / "comparisons.jsonl", [comparison(number) for number in range(len(JUDGED))])
        self.base = tiny_models.build(root / "base")

    def call(self, stage: str, out: Path, *more: object, **changed: object) -> int:
        data = self.comparisons if stage == "reward" else self.documents
        given = {"recipe": self.recipe, "data": data, "model": self.base, "out": out} | changed
        options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        return command.main([stage, *options, *map(str, more)])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def sft_out(place: Place) -> Path:
    assert place.call("sft", place.root / "sft") == 0
    return place.root / "sft"


@pytest.fixture(scope="module")
def reward_out(place: Place, sft_out: Path) -> Path:
    assert place.call("reward", place.root / "reward", model=sft_out / "policy") == 0
    return place.root / "reward"


def test_sft_learns_from_training_documents_only(sft_out: Path) -> None:
    found = result(sft_out)
    assert (found["documents"], found["steps"], found["validation_documents"]) == (12, 3, 4)
    assert AutoModelForCausalLM.from_pretrained(found["directory"]).config.pad_token_id is not None
    lines = read(sft_out / "metrics.jsonl")
    points = [line for line in lines if "step" in line]
    assert {line["name"] for line in points} <= DOCS.keys()
    assert [line["step"] for line in points if line["name"] == "sft/loss"] == [0, 1, 2]
    conditions = {line["condition"]: line["value"] for line in lines if "condition" in line}
    assert conditions["precision"] == "fp32" and conditions["torch"] == torch.__version__
    assert not (sft_out / "states").exists(), "there is a result, so there is nothing to go on from"


def test_a_reward_model_learns_from_training_comparisons_and_their_references(reward_out: Path) -> None:
    found = result(reward_out)
    assert (found["pairs"], found["references"], found["accuracy"]["n"]) == (8, 8, 3)
    assert found["accuracy_by_policies"].keys() == {"ref / sup"}
    stock: Any = AutoModelForSequenceClassification.from_pretrained(found["directory"])
    assert stock.config.reward_offset == pytest.approx(found["offset"])


def test_references_come_from_a_file_of_documents_where_one_is_named(
    place: Place, sft_out: Path, tmp_path: Path
) -> None:
    out = tmp_path / "reward"
    assert place.call("reward", out, "--documents", place.documents, model=sft_out / "policy") == 0
    assert result(out)["references"] == 12


def test_ppo_from_an_sft_policy_and_a_reward_model(
    place: Place, sft_out: Path, reward_out: Path, tmp_path: Path
) -> None:
    assert place.call("ppo", tmp_path / "o", "--reward", reward_out / "reward", model=sft_out / "policy") == 0
    found = result(tmp_path / "o")
    assert found["episodes"] == 8 and found["history"][0]["kl"] == pytest.approx(0, abs=1e-4)
    AutoModelForCausalLM.from_pretrained(found["policy_dir"])


def test_a_stop_by_preference_looks_at_validation_documents(
    place: Place, sft_out: Path, reward_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = RECIPE["ppo"] | {"stop_preference_drop": 0.5, "preference_every": 1}  # type: ignore[operator]
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(RECIPE | {"ppo": watched}))
    asked = {"model": sft_out / "policy", "recipe": recipe}
    train = written(tmp_path / "train.jsonl", [document(number) for number in range(4)])
    more = ("--reward", reward_out / "reward")
    assert place.call("ppo", tmp_path / "o", *more, data=train, **asked) == 2
    assert "no validation document to estimate the preference on" in capsys.readouterr().err
    assert place.call("ppo", tmp_path / "o", *more, **asked) == 0
    names = {line.get("name") for line in read(tmp_path / "o" / "metrics.jsonl")}
    assert any("preference" in str(name) for name in names)


def test_samples_of_every_document_or_of_a_split(place: Place, sft_out: Path, reward_out: Path, tmp_path: Path) -> None:
    assert place.call("sample", tmp_path / "all", model=sft_out / "policy") == 0
    rows = read(tmp_path / "all" / "summaries.jsonl")
    assert [row["id"] for row in rows] == [f"t3_{number}" for number in range(18)]
    assert [row["split"] for row in rows] == ["train"] * 12 + ["validation"] * 4 + ["test"] * 2
    assert all(row["score"] is None and "TL;DR:" in row["prompt"] for row in rows)
    some = ("--split", "validation", "--limit", 2)
    assert place.call("sample", tmp_path / "some", *some, model=sft_out / "policy") == 0
    found = read(tmp_path / "some" / "summaries.jsonl")
    assert [row["id"] for row in found] == ["t3_12", "t3_13"]
    scored = (*some, "--reward", reward_out / "reward")
    assert place.call("sample", tmp_path / "scored", *scored, model=sft_out / "policy") == 0
    rows = read(tmp_path / "scored" / "summaries.jsonl")
    assert all(isinstance(row.pop("score"), float) and row | {"score": None} in found for row in rows)


def test_the_best_of_several_with_its_curve(place: Place, sft_out: Path, reward_out: Path, tmp_path: Path) -> None:
    more = ("--best-of", 6, "--reward", reward_out / "reward", "--split", "validation")
    assert place.call("sample", tmp_path / "o", *more, model=sft_out / "policy") == 0
    curve = result(tmp_path / "o")["best_of"]
    assert list(curve) == ["1", "2", "4", "6"]
    means = [each["score"]["value"] for each in curve.values()]
    assert means == sorted(means) and means[0] < means[-1] and curve["1"]["kl_at_most"] == 0
    scores = [row["score"] for row in read(tmp_path / "o" / "summaries.jsonl")]
    assert sum(scores) / 4 == pytest.approx(means[-1])


def test_evaluation_measures_validation_documents(
    place: Place, sft_out: Path, reward_out: Path, tmp_path: Path
) -> None:
    more = ("--reward", reward_out / "reward", "--sft", sft_out / "policy")
    assert place.call("evaluate", tmp_path / "o", *more, model=sft_out / "policy") == 0
    found = result(tmp_path / "o")
    assert found["documents"] == 3 and found["kl"]["value"] == pytest.approx(0, abs=1e-6)
    rows = read(tmp_path / "o" / "summaries.jsonl")
    assert [row["id"] for row in rows] == ["t3_12", "t3_13", "t3_14"]
    assert found["score"]["value"] == pytest.approx(sum(row["score"] for row in rows) / 3)
    assert found["score"]["low"] < found["score"]["value"] < found["score"]["high"]


def test_a_base_model_is_asked_after_worked_examples(place: Place, reward_out: Path, tmp_path: Path) -> None:
    more = ("--examples", place.documents, "-k", 2)
    assert place.call("sample", tmp_path / "s", *more, "--split", "validation") == 0
    shown = [document(number)["summary"] for number in (0, 1)]
    for row in read(tmp_path / "s" / "summaries.jsonl"):
        first, second, question = row["prompt"].split("\n\n=====\n\n")
        assert first.endswith(f"TL;DR: {shown[0]}") and second.endswith(f"TL;DR: {shown[1]}")
        assert question.startswith("Subreddit: r/stories") and "\n" not in row["summary"]
    assert place.call("evaluate", tmp_path / "e", *more, "--reward", reward_out / "reward") == 0
    found = result(tmp_path / "e")
    assert found["rouge_l"]["n"] == 3 and "kl" not in found


def test_splits_by_hash_are_those_of_a_new_project(place: Place, sft_out: Path, tmp_path: Path) -> None:
    shares = [Project.__table__.c[name].server_default.arg for name in ("validation_share", "test_share")]
    assert [float(share) for share in shares] == [VALIDATION_SHARE, TEST_SHARE]
    named = written(tmp_path / "d.jsonl", [document(0) | {"id": f"t3_{number}"} for number in range(40)])
    more = ("--splits", "hash", "--split", "validation")
    assert place.call("sample", tmp_path / "o", *more, model=sft_out / "policy", data=named) == 0
    ids = [f"t3_{number}" for number in range(40)]
    expected = [each for each in ids if split_by_hash(SALT, each, 0.1, 0.05) is Split.VALIDATION]
    assert [row["id"] for row in read(tmp_path / "o" / "summaries.jsonl")] == expected != []


def press(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Somebody presses Ctrl-C at this report of progress."""
    told, real = count(1), FileSink.progress

    def pressed(self: FileSink, *told_so_far: Any) -> None:
        real(self, *told_so_far)
        if next(told) == at:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(FileSink, "progress", pressed)


def test_ctrl_c_leaves_a_usable_model_and_the_next_call_ends_as_if_nothing_had_happened(
    place: Place, sft_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o"
    with monkeypatch.context() as patched:
        press(patched, at=2)
        assert place.call("sft", out) == 130
    left = out / "policy-unfinished"
    assert str(left) in capsys.readouterr().err and not (out / "result.json").exists()
    AutoModelForCausalLM.from_pretrained(str(left))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "na')
    assert place.call("sft", out) == 0
    assert "start: resumed from step 2 of 3" in capsys.readouterr().err
    assert checkpoints.digest_directory(out / "policy") == checkpoints.digest_directory(sft_out / "policy")
    steps = [line["step"] for line in read(out / "metrics.jsonl") if line.get("name") == "sft/loss"]
    assert steps == [0, 1, 2]
    assert not left.exists() and not (out / "states").exists()


def test_a_second_ctrl_c_ends_at_once() -> None:
    code = (
        "import os, signal\n"
        "from worker.cli.terminal import stoppable\n"
        "with stoppable() as stopping:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print(stopping(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still there', flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "True\n")
    assert "once more ends at once" in done.stderr


def test_what_is_finished_is_not_done_again_and_what_is_there_is_kept(
    place: Place, sft_out: Path, reward_out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = checkpoints.digest_directory(sft_out)
    moved = place.root / "moved.jsonl.gz"
    moved.write_bytes(place.documents.read_bytes())
    assert place.call("sft", sft_out, "--processes", 2, data=moved) == 0, "how many learn does not change what is made"
    assert "finished before" in capsys.readouterr().err
    assert place.call("sft", sft_out, recipe="tiny") == 2
    assert "begun with another recipe" in capsys.readouterr().err
    assert place.call("sample", sft_out.parent) == 2
    assert "holds base and reward of something else" in capsys.readouterr().err
    assert checkpoints.digest_directory(sft_out) == before


def test_what_ran_out_of_memory_goes_on_with_less_at_once(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reached, trained = tmp_path / "o" / "states" / "000000000001", sft.train

    def short(*arguments: Any, **named: Any) -> sft.SftResult:
        (named["state_dir"] / reached.name).mkdir(parents=True)
        raise MemoryError

    monkeypatch.setattr(sft, "train", short)
    assert place.call("sft", tmp_path / "o") == 2
    assert "lower sft.micro_batch in the recipe and call again" in capsys.readouterr().err
    monkeypatch.setattr(sft, "train", trained)
    other, less = tmp_path / "other.json", tmp_path / "less.json"
    other.write_text(json.dumps(RECIPE | {"sft": {"batch": 4, "micro_batch": 4, "learning_rate": 1e-3}}))
    less.write_text(json.dumps(RECIPE | {"sft": {"batch": 4, "micro_batch": 2, "learning_rate": 5e-3}}))
    assert place.call("sft", tmp_path / "o", recipe=other) == 2
    assert "begun with another recipe" in capsys.readouterr().err and reached.exists()
    assert place.call("sft", tmp_path / "o", recipe=less) == 0
    told = [json.loads(line) for line in (tmp_path / "o" / "metrics.jsonl").read_text().splitlines()]
    assert any(line.get("condition") == "start" and "damaged" in line["value"] for line in told), (
        "it looked at what was there"
    )
    asked = json.loads((tmp_path / "o" / "asked.json").read_text())
    assert asked["recipe"]["sft"]["micro_batch"] == 2


def test_as_a_process_of_its_own_it_makes_the_same(place: Place, sft_out: Path, tmp_path: Path) -> None:
    asked = {"recipe": place.recipe, "data": place.documents, "model": place.base, "out": tmp_path / "o"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "worker.cli",
            "sft",
            *(word for name in asked for word in (f"--{name}", str(asked[name]))),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "step 3 of 3" in done.stderr and done.stderr.endswith(f"done: {tmp_path / 'o' / 'result.json'}\n")
    assert checkpoints.digest_directory(tmp_path / "o" / "policy") == checkpoints.digest_directory(sft_out / "policy")


def test_an_adapter_learns_in_one_process(
    place: Place, sft_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(RECIPE | {"reward": {"batch": 4, "micro_batch": 4, "lora_rank": 2}}))
    asked = {"recipe": recipe, "model": sft_out / "policy"}
    assert place.call("reward", tmp_path / "o", "--processes", 2, **asked) == 2
    assert "leave out --processes" in capsys.readouterr().err


def test_one_process_works_in_a_place(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "metrics.jsonl").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert place.call("sft", tmp_path) == 2
    assert "Another process is at work" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "lower sft.micro_batch"),
        (torch.OutOfMemoryError("CUDA out of memory"), "lower sft.micro_batch"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "lower sft.micro_batch"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (OSError("tokenizer.json cannot be read\nand more"), "tokenizer.json cannot be read."),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(
    place: Place,
    tmp_path: Path,
    error: Exception,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*arguments: Any, **named: Any) -> sft.SftResult:
        raise error

    monkeypatch.setattr(sft, "train", broken)
    assert place.call("sft", tmp_path / "o") == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_bug_keeps_its_traceback(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **named: Any) -> sft.SftResult:
        raise KeyError("a bug")

    monkeypatch.setattr(sft, "train", broken)
    with pytest.raises(KeyError, match="a bug"):
        place.call("sft", tmp_path / "o")


Refused = Callable[[Place, Path], tuple[str, list[object], dict[str, object]]]


def refused(stage: str, *more: object, **changed: object) -> Refused:
    return lambda place, tmp_path: (stage, list(more), changed)


def with_file(name: str, text: str | bytes, stage: str = "sft", option: str = "data") -> Refused:
    def made(place: Place, tmp_path: Path) -> tuple[str, list[object], dict[str, object]]:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return stage, [], {option: path}

    return made


LINE = f"{json.dumps(document(0))}\n"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (refused("sft", recipe="papre"), "--recipe papre is neither a file nor one of paper, small, demo, tiny."),
        (with_file("r.json", "{", option="recipe"), "is not JSON"),
        (with_file("r.json", '{"name": "x", "sft": {"batch": 0}}', option="recipe"), "sft.batch is 0: allowed is"),
        (refused("sft", data="none.jsonl"), "none.jsonl cannot be read: No such file or directory."),
        (with_file("d.jsonl", f"{LINE}\n{LINE[:-9]}\n"), "line 3, record: not JSON"),
        (with_file("d.jsonl", f"{LINE}{json.dumps({'title': 'x'})}\n"), "line 2, post: missing"),
        (with_file("d.jsonl", LINE.encode() + b"\xff\n"), "line 2: not UTF-8 at byte 0"),
        (with_file("d.jsonl.gz", gzip.compress(LINE.encode() * 50)[:-12]), "is broken after line"),
        (with_file("d.jsonl", LINE.replace("train", "test")), "has no training document with a summary"),
        (with_file("c.jsonl", LINE, "reward"), "line 1, info: missing"),
        (with_file("t.txt", "{pots}", option="template"), "the template has the field {pots}"),
        (refused("reward", model="nowhere"), "--model nowhere is not a model directory"),
        (refused("sample", "--best-of", 2), "--best-of needs --reward"),
        (refused("ppo", "--reward", "BASE"), "is not a reward model that `reward` has written"),
        (refused("sample", model="REWARD"), "is a reward or value model; a policy is needed here"),
        (refused("evaluate", "--reward", "REWARD"), "--sft names the policy from which the KL divergence"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_and_nothing_is_made(
    place: Place, reward_out: Path, tmp_path: Path, asked: Refused, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"BASE": place.base, "REWARD": reward_out / "reward"}
    stage, more, changed = asked(place, tmp_path)
    out = tmp_path / "o"
    found = place.call(
        stage, out, *(names.get(str(each), each) for each in more),
        **{name: names.get(str(value), value) for name, value in changed.items()},
    )  # fmt: skip
    assert found == 2 and not out.exists()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_a_pair_without_a_reference_needs_a_file_of_them(
    place: Place, sft_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [comparison(number) for number in range(2)]
    for row in rows:
        row["summaries"][0]["policy"] = "sup2"
    data = written(tmp_path / "c.jsonl", rows)
    assert place.call("reward", tmp_path / "o", data=data, model=sft_out / "policy") == 2
    assert "--documents" in capsys.readouterr().err


def test_the_last_answer_of_one_person_on_one_pair_counts(place: Place, sft_out: Path, tmp_path: Path) -> None:
    first, other = comparison(0), comparison(0) | {"worker": "w2"}
    again = first | {"choice": 0, "extra": {"confidence": 2}}
    data = written(tmp_path / "c.jsonl", [first, other, first, again])
    assert place.call("reward", tmp_path / "o", data=data, model=sft_out / "policy") == 0
    assert result(tmp_path / "o")["pairs"] == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_where_somebody_looks_and_lines_where_nobody_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = FileSink(tmp_path / "m.jsonl", lambda: False)
    sink.progress(1, 4, "learned, step 1 of 4")
    sink.progress(4, 4, "learned, step 4 of 4")
    assert capsys.readouterr().err == "hone: learned, step 4 of 4\n"
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    sink.progress(0, 4, "learned, step 0 of 4")
    sink._bar.mininterval = 0
    sink.progress(2, 4, "learned, step 2 of 4")
    sink.close()
    assert "learned, step 2 of 4:  50%" in shown.getvalue()


def test_what_is_no_number_is_null_in_the_file(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "m.jsonl", lambda: False)
    sink.metric("sft/loss", 3, float("nan"))
    sink.close()
    assert read(tmp_path / "m.jsonl") == [{"step": 3, "name": "sft/loss", "value": None}]
