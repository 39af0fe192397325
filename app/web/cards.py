"""Model cards: what a checkpoint is, where it is from and how it is loaded, for a page and as Markdown.

Knows sentences and Markdown. What is known of a checkpoint is in app.services.policies.
"""

import json

from app.domain.words import CheckpointKind, Stage
from app.services.policies import Card
from app.web import telling
from app.web.contexts import CardPage, CardPart, ResultLine

ABOUT = {
    CheckpointKind.BASE: "A pretrained language model, as it came. Nothing of this project has been trained into it.",
    CheckpointKind.POLICY: "A language model that writes summaries.",
    CheckpointKind.REWARD: "A model that scores a summary of a post: the higher, the more labelers are expected to "
    "like it. Scores mean something only in comparison; references of training documents are 0 on average.",
    CheckpointKind.VALUE: "The value network of a PPO run: at each token of a summary it foresees the score of the "
    "whole. It is kept so that training can be looked into, and is of no other use.",
}
TRAINED = {
    Stage.SFT: "Fine-tuned on reference summaries.",
    Stage.PPO: "Improved by PPO against a reward model that learned from the preferences of people.",
}
LIMITS = (
    "It was measured on documents of the same source as those it learned from, and says nothing of others.",
    "It learned what the labelers of this install prefer under its guidelines, mistakes and blind spots included.",
    "A summary can be fluent and wrong: read the document before you rely on one.",
)
_APART = "an adapter as peft writes it, with the weights it stands on in base/"
_SECTIONS = {Stage.REWARD: "reward", Stage.PPO: "ppo"}
_SCORES = (CheckpointKind.REWARD, CheckpointKind.VALUE)


def loading(card: Card) -> str:
    """Python that loads the checkpoint with transformers alone and uses it once."""
    directory = json.dumps(card.checkpoint.path)
    below = "below the artifact directory" + ("; an adapter: needs the package peft" if _is_apart(card) else "")
    if card.checkpoint.kind in _SCORES:
        return "\n".join(
            [
                "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
                "",
                f"directory = {directory}  # {below}",
                "tokenizer = AutoTokenizer.from_pretrained(directory)",
                "model = AutoModelForSequenceClassification.from_pretrained(directory)",
                'prompt = "..."  # the prompt template, filled in',
                'text = prompt + " A summary." + tokenizer.eos_token',
                'score = model(**tokenizer(text, return_tensors="pt")).logits[0, 0].item()',
                'print(score - getattr(model.config, "reward_offset", 0.0))',
            ]
        )
    return "\n".join(
        [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f"directory = {directory}  # {below}",
            "tokenizer = AutoTokenizer.from_pretrained(directory)",
            "model = AutoModelForCausalLM.from_pretrained(directory)",
            'prompt = "..."  # the prompt template, filled in',
            'tokens = tokenizer(prompt, return_tensors="pt")',
            "written = model.generate(**tokens, max_new_tokens=48, do_sample=False)",
            'print(tokenizer.decode(written[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True))',
        ]
    )


def _is_apart(card: Card) -> bool:
    """Whether the recipe asked to leave an adapter beside the weights it stands on."""
    section = card.checkpoint.recipe.get(_SECTIONS.get(card.stage, "") if card.stage else "", {})
    return bool(section.get("lora_rank")) and not section.get("lora_merge", True)


def _about(card: Card) -> str:
    trained = TRAINED.get(card.stage) if card.stage and card.checkpoint.kind is CheckpointKind.POLICY else None
    return " ".join(each for each in (ABOUT[card.checkpoint.kind], trained) if each)


def _measures(card: Card) -> list[ResultLine]:
    if card.checkpoint.kind is CheckpointKind.REWARD:
        parts = card.result.get("accuracy_by_policies") or {}
        apart = [
            telling.share(f"Reward accuracy, {name}", "held-out pairs of these policies", held)
            for name, held in parts.items()
        ]
        return [*telling.measures({"accuracy": card.result.get("accuracy")}), *apart]
    return telling.measures(card.measured)


def _parts(card: Card) -> list[CardPart]:
    checkpoint = card.checkpoint
    files = [
        ("Kind", checkpoint.kind.value),
        ("Digest (sha256)", checkpoint.digest),
        ("Size", f"{checkpoint.bytes / 1_000_000:,.1f} MB"),
        ("Directory", checkpoint.path),
        ("Format", _APART if _is_apart(card) else "safetensors, with its tokenizer"),
        ("Made", checkpoint.created_at.strftime("%Y-%m-%d %H:%M UTC")),
    ]
    made = [
        ("Recipe", str(checkpoint.recipe.get("name") or telling.NONE)),
        ("Code revision", checkpoint.code_revision or telling.NONE),
        *telling.terms(card.conditions),
    ]
    seen = telling.snapshot(checkpoint.snapshot)
    return [
        CardPart(title, rows) for title, rows in (("Files", files), ("Made with", made), ("Data it saw", seen)) if rows
    ]


def page(card: Card) -> CardPage:
    """The card for the page."""
    recipe = card.checkpoint.recipe
    return CardPage(
        id=card.checkpoint.id,
        name=card.name,
        about=_about(card),
        policy=card.policy,
        parent=card.parent,
        round=card.round_number,
        parts=_parts(card),
        measures=_measures(card),
        loading=loading(card),
        template=card.prompt_template,
        recipe=json.dumps(recipe, indent=2, ensure_ascii=False) if recipe else "",
    )


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _fence(text: str, language: str = "") -> str:
    # Longer than any run of backticks inside.
    mark = "```"
    while mark in text:
        mark += "`"
    return f"{mark}{language}\n{text}\n{mark}"


def markdown(card: Card) -> str:
    """The card as a Markdown file, with the front matter that model hubs read."""
    shown = page(card)
    task = "text-classification" if card.checkpoint.kind in _SCORES else "summarization"
    lines = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {task}",
        "tags: [hone, rlhf, summarization]",
        "---",
        "",
        f"# {_cell(shown.name)}",
        "",
        shown.about,
    ]
    if shown.parent is not None:
        lines += [
            "",
            f"Trained from {_cell(shown.parent[1])}{'' if shown.round is None else f' in round {shown.round}'}.",
        ]
    for part in shown.parts:
        lines += ["", f"## {part.title}", "", "| | |", "| --- | --- |"]
        lines += [f"| {_cell(term)} | {_cell(value)} |" for term, value in part.rows]
    if shown.measures:
        lines += ["", "## Measured", "", "| measure | value | n | 95 % interval |", "| --- | ---: | ---: | ---: |"]
        lines += [
            f"| {_cell(each.measure)}: {_cell(each.meaning)} | {each.value} | {each.n} | {each.interval} |"
            for each in shown.measures
        ]
    lines += ["", "## Load it", "", _fence(shown.loading, "python")]
    lines += ["", "## Prompt", "", "The summary follows, with a space before it and the end token after it.", ""]
    lines += [_fence(shown.template), "", "## Limits", "", *(f"- {each}" for each in LIMITS)]
    if shown.recipe:
        lines += ["", "## Recipe", "", _fence(shown.recipe, "json")]
    return "\n".join(lines) + "\n"
