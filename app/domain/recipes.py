"""Recipes: every hyperparameter of a round, frozen, validated at birth, with its meaning and its source beside it.

Knows names, defaults, limits and how the numbers must divide. Knows nothing of torch, of models or of where a recipe
is stored. A default is the paper's value (1.3B) wherever the paper, or the code before and after it, gives one.

Sources: `P 3.4` is section 3.4 of Stiennon et al. 2020, `P B.1` its appendix; `LMHP` is openai/lm-human-preferences,
whose PPO the paper used; `N+ 20` is item 20 of the checklist of Huang et al. 2024; `Hone` is a choice of this project.
"""

import hashlib
import json
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self, cast, get_args

from app.domain.words import ComparisonKind

Precision = Literal["auto", "fp32", "bf16"]
Schedule = Literal["cosine", "linear", "constant"]
LossOn = Literal["summary", "all"]
SftWhen = Literal["first", "always"]
StartFrom = Literal["sft", "current"]
PromotedBy = Literal["gate", "hand"]
LaunchSchedule = Literal["constant", "annealed"]
Advantage = Literal["gae", "rloo"]
LoraTargets = Literal["attention", "linear"]


# Upper limits of counts: far above what anybody runs, and small enough for every column and every product of two.
LARGE = 100_000_000
MOST_SIDE_BY_SIDE = 65_536
LONGEST_PROMPT, LONGEST_SUMMARY = 131_072, 8_192
MOST_PAIRS = 100_000


class InvalidRecipe(ValueError):
    """A recipe that cannot be run. The message names the field, its value and what is allowed."""


@dataclass(frozen=True, slots=True)
class About:
    """What a page may say about one field, and what the field accepts."""

    doc: str
    source: str
    low: float | None
    above: float | None
    high: float | None
    choices: tuple[str, ...]
    optional: bool
    whole: bool
    several: bool = False

    def allowed(self) -> str:
        """The accepted values in words."""
        if self.several:
            return f"a list of any of {', '.join(self.choices)}"
        if self.choices:
            return " or ".join(self.choices)
        kind = "a whole number" if self.whole else "a number"
        limits = [
            words
            for limit, words in (
                (self.low, f"at least {self.low:g}" if self.low is not None else ""),
                (self.above, f"above {self.above:g}" if self.above is not None else ""),
                (self.high, f"at most {self.high:.10g}" if self.high is not None else ""),
            )
            if limit is not None
        ]
        return " ".join([kind, " and ".join(limits)]).strip() + (" or null" if self.optional else "")


def _number(
    doc: str,
    source: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float,
    optional: bool = False,
) -> dict[str, Any]:
    about = About(doc, source, low, above, high, choices=(), optional=optional, whole=False)
    return {"doc": doc, "source": source, "about": about}


def _count(doc: str, source: str, *, low: float = 1, high: float = LARGE, optional: bool = False) -> dict[str, Any]:
    about = About(doc, source, low, None, high, choices=(), optional=optional, whole=True)
    return {"doc": doc, "source": source, "about": about}


def _choice(doc: str, source: str, allowed: object) -> dict[str, Any]:
    about = About(doc, source, None, None, None, choices=get_args(allowed), optional=False, whole=False)
    return {"doc": doc, "source": source, "about": about}


def _switch(doc: str, source: str) -> dict[str, Any]:
    about = About(doc, source, None, None, None, choices=("true", "false"), optional=False, whole=False)
    return {"doc": doc, "source": source, "about": about}


def _several(doc: str, source: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    about = About(doc, source, None, None, None, choices=allowed, optional=False, whole=False, several=True)
    return {"doc": doc, "source": source, "about": about}


def _at_once(doc: str) -> dict[str, Any]:
    return _count(doc, "Hone", high=MOST_SIDE_BY_SIDE) | {"memory": True}


def _lora_rank(what: str) -> dict[str, Any]:
    doc = f"Rank of a low-rank adapter that learns in place of the {what}'s own weights; 0 has none."
    return _count(doc, "Hu et al. 2021", low=0, high=4096)


_CHECKPOINTING = _switch(
    "Keep only what enters each layer, and compute the rest again for its gradients: less memory, more time.", "Hone"
) | {"memory": True}
_LORA_ALPHA = _count("What an adapter gives is multiplied by this over its rank.", "Hu et al. 2021", high=65_536)
_LORA_TARGETS = _choice(
    "Layers that an adapter stands beside: `attention`, those that peft takes of the architecture (query and value in "
    "most); `linear`, every linear layer but the output.",
    "Hu et al. 2021",
    LoraTargets,
)
_LORA_MERGE = _switch(
    "Save plain weights with the adapter in them; false saves the adapter beside the weights it stands on.", "Hone"
)


def _said(value: object) -> str:
    """A value that somebody sent, fit for a sentence: cut where it is long or deep."""
    return reprlib.repr(value)


def _checked(path: str, value: object, about: About) -> object:
    """The value as it will be stored (numbers of one kind, so that equal recipes have equal digests), or a refusal."""
    refusal = InvalidRecipe(f"{path} is {_said(value)}: allowed is {about.allowed()}")
    if value is None:
        if about.optional:
            return None
        raise refusal
    if about.several:
        if isinstance(value, list | tuple) and all(isinstance(each, str) and each in about.choices for each in value):
            return tuple(choice for choice in about.choices if choice in value)
        raise refusal
    if about.choices == ("true", "false"):
        if isinstance(value, bool):
            return value
        raise refusal
    if about.choices:
        if isinstance(value, str) and value in about.choices:
            return value
        raise refusal
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refusal
    # A whole number is finite however long it is, and may be too long to be asked.
    if isinstance(value, float) and not math.isfinite(value):
        raise refusal
    if about.whole and value != int(value):
        raise refusal
    too_low = (about.low is not None and value < about.low) or (about.above is not None and value <= about.above)
    if too_low or (about.high is not None and value > about.high):
        raise refusal
    return int(value) if about.whole else float(value)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One section of a recipe: checks every field by what its metadata says, then how its numbers divide."""

    section: ClassVar[str]

    def __post_init__(self) -> None:
        for each in fields(self):
            path = f"{self.section}.{each.name}"
            object.__setattr__(self, each.name, _checked(path, getattr(self, each.name), each.metadata["about"]))
        self._divide()

    def _divide(self) -> None:
        """Refuse numbers that do not divide exactly. Rounding in silence would train on something else than asked."""

    def _exact(self, whole: str, part: str) -> None:
        numerator, denominator = getattr(self, whole), getattr(self, part)
        if numerator % denominator:
            raise InvalidRecipe(
                f"{self.section}.{whole} is {numerator!r}: allowed is a multiple of "
                f"{self.section}.{part}, which is {denominator!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values by field name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def memory(self) -> dict[str, Any]:
        """The fields that change memory and time, and not what is computed: at most its last digits. Where those decide
        which token is drawn, as in bfloat16, another batch writes other summaries, as good as those."""
        return {each.name: getattr(self, each.name) for each in fields(self) if "memory" in each.metadata}

    def decisive(self) -> dict[str, Any]:
        """`to_dict` without `memory`: trainings that agree in it ask for the same."""
        return {name: value for name, value in self.to_dict().items() if name not in self.memory()}

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """The section from JSON values; a field left out takes the default, an unknown name is refused."""
        return cls(**_known(cls.section, values, [each.name for each in fields(cls)]))


def _known(path: str, values: object, names: list[str]) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise InvalidRecipe(f"{path} is {_said(values)}: allowed is an object with the fields {', '.join(names)}")
    for name in values:
        if name not in names:
            plain = str(name) if str(name).isprintable() else _said(name)[1:-1]
            where = f"{path}.{plain[:60]}" if path else plain[:60]
            raise InvalidRecipe(f"{where} is {_said(values[name])}: allowed are only the fields {', '.join(names)}")
    return dict(values)


@dataclass(frozen=True, kw_only=True)
class SamplingRecipe(_Part):
    """How summaries are written, and how long a prompt and a summary may be in every stage but the reward model."""

    section: ClassVar[str] = "sampling"

    temperature: float = field(
        default=0.7, metadata=_number("Logits are divided by it; 0 takes the likeliest token.", "P T10", low=0, high=10)
    )
    top_p: float = field(
        default=1.0,
        metadata=_number(
            "Draw only from the likeliest tokens that together hold this probability.", "LMHP", above=0, high=1
        ),
    )
    max_query_tokens: int = field(
        default=512,
        metadata=_count(
            "Longest prompt in tokens; a longer post is cut at its last newlines. One value for all models.",
            "P B.2",
            high=LONGEST_PROMPT,
        ),
    )
    max_summary_tokens: int = field(
        default=48,
        metadata=_count("New tokens per summary, the end token included.", "P B.2", low=2, high=LONGEST_SUMMARY),
    )
    batch: int = field(default=32, metadata=_at_once("Summaries written side by side."))


@dataclass(frozen=True, kw_only=True)
class PairingRecipe(_Part):
    """Which comparisons a round puts up for judging."""

    section: ClassVar[str] = "pairing"

    pairs: int = field(default=8192, metadata=_count("Comparisons put up in one round.", "Hone"))
    reference_share: float = field(
        default=0.44,
        metadata=_number(
            "Share of pairs that set the current policy against the human reference. What the shares leave is two "
            "samples of the current policy.",
            "P T11",
            low=0,
            high=1,
        ),
    )
    initial_share: float = field(
        default=0.0,
        metadata=_number(
            "Share of pairs that set the current policy against the one that was fine-tuned last.",
            "P 3.1",
            low=0,
            high=1,
        ),
    )
    best_of_share: float = field(
        default=0.0,
        metadata=_number(
            "Share of pairs that set a summary of the current policy against the best of several, by the newest reward "
            "model.",
            "P 3.1",
            low=0,
            high=1,
        ),
    )
    best_of: int = field(
        default=8, metadata=_count("How many summaries that best one is taken from.", "P T10", low=2, high=1024)
    )
    most_alike: float = field(
        default=0.9,
        metadata=_number(
            "Two texts at least so alike, by the runs of three characters that they share, are written again a few "
            "times and then left out: labelers could hardly tell them apart. At 1 they differ in case, punctuation and "
            "space only.",
            "Hone",
            above=0,
            high=1,
        ),
    )
    choose_from: int = field(
        default=1,
        metadata=_count(
            "Pairs written for each one put up on training documents; those whose answer tells more about the reward "
            "model are put up more probably. 1 chooses nothing.",
            "Houlsby et al. 2011",
            high=64,
        ),
    )
    control_share: float = field(
        default=0.2,
        metadata=_number("Share of chosen pairs that are drawn at random all the same.", "Hone", above=0, high=1),
    )
    held_out_share: float = field(
        default=0.05,
        metadata=_number("Share of pairs on validation documents, for reward accuracy only.", "P A", low=0, high=0.9),
    )
    opinions: int = field(
        default=1, metadata=_count("Labelers asked for each comparison; one gives most per hour.", "P C.2", high=99)
    )

    def _divide(self) -> None:
        shares = self.reference_share, self.initial_share, self.best_of_share
        # Hundredths do not add up exactly.
        if sum(shares) > 1 + 1e-9:
            raise InvalidRecipe(
                f"pairing.reference_share is {shares[0]:g}: allowed is at most 1 together with pairing.initial_share, "
                f"which is {shares[1]:g}, and pairing.best_of_share, which is {shares[2]:g}"
            )

    def held_out_pairs(self) -> int:
        """How many of the pairs stand on validation documents."""
        return round(self.pairs * self.held_out_share)


@dataclass(frozen=True, kw_only=True)
class SftRecipe(_Part):
    """Supervised fine-tuning on reference summaries."""

    section: ClassVar[str] = "sft"

    documents: int | None = field(
        default=None, metadata=_count("Training documents at most; null takes all.", "Hone", optional=True)
    )
    epochs: int = field(default=1, metadata=_count("Passes over the documents.", "P B.1", high=1000))
    batch: int = field(default=128, metadata=_count("Documents per optimizer step.", "P B.1", high=MOST_SIDE_BY_SIDE))
    micro_batch: int = field(default=8, metadata=_at_once("Documents per forward pass; changes memory only."))
    checkpointing: bool = field(default=False, metadata=_CHECKPOINTING)
    learning_rate: float = field(
        default=6.35e-5, metadata=_number("Learning rate of the first step.", "P B.1", above=0, high=1)
    )
    schedule: Schedule = field(
        default="cosine", metadata=_choice("How the learning rate falls to 0; there is no warm-up.", "P B.1", Schedule)
    )
    adam_eps: float = field(default=1e-5, metadata=_number("Epsilon of Adam.", "N+ 9", above=0, high=1))
    loss_on: LossOn = field(
        default="summary",
        metadata=_choice(
            "Tokens that count in the loss: `summary` (with its end token), or `all` for the prompt too as N+ does.",
            "P 3.4",
            LossOn,
        ),
    )
    save_every: int = field(
        default=1,
        metadata=_count("Steps at least between two resume states; they take a twentieth of the time at most.", "Hone"),
    )
    when: SftWhen = field(
        default="first",
        metadata=_choice("`first`: only in the first round; `always`: anew in every round.", "P 3.1", SftWhen),
    )

    def _divide(self) -> None:
        self._exact("batch", "micro_batch")


# Gold and qualification pairs are about the labeler and never train anything, so they need no leaving out.
TRAINED_KINDS = tuple(
    kind.value for kind in ComparisonKind if kind not in (ComparisonKind.GOLD, ComparisonKind.QUALIFICATION)
)


@dataclass(frozen=True, kw_only=True)
class LabelsRecipe(_Part):
    """Which answers the reward model learns from: all of them, unless a round asks otherwise.

    The study found that leaving answers out for their confidence or their labeler made the reward model worse. What is
    left out is counted in the round's results; held-out pairs keep all answers, so that rounds can be compared.
    """

    section: ClassVar[str] = "labels"

    least_confidence: int = field(
        default=0,
        metadata=_count(
            "Answers nearer than this to 5 (cannot tell) are left out; 0 keeps all.", "P C.2", low=0, high=4
        ),
    )
    least_agreement: float = field(
        default=0.0,
        metadata=_number(
            "Answers of labelers who prefer the same side as others in a smaller share of shared pairs are left out; "
            "0 keeps all. A labeler with fewer than 20 such pairs is kept.",
            "P C.2",
            low=0,
            high=1,
        ),
    )
    leave_out: tuple[str, ...] = field(
        default=(),
        metadata=_several("Kinds of comparisons whose answers are left out; none keeps all.", "Hone", TRAINED_KINDS),
    )

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is left out."""
        return not (self.least_confidence or self.least_agreement or self.leave_out)


@dataclass(frozen=True, kw_only=True)
class RewardRecipe(_Part):
    """The reward model: the SFT weights with a scalar head, trained on preferences."""

    section: ClassVar[str] = "reward"

    epochs: int = field(
        default=1, metadata=_count("Passes over the pairs; more than one over-fits.", "P B.1", high=1000)
    )
    batch: int = field(default=64, metadata=_count("Pairs per optimizer step.", "P B.1", high=MOST_SIDE_BY_SIDE))
    micro_batch: int = field(
        default=8, metadata=_at_once("Pairs per forward pass, two sequences each; changes memory only.")
    )
    checkpointing: bool = field(default=False, metadata=_CHECKPOINTING)
    learning_rate: float = field(
        default=1.5e-5, metadata=_number("Learning rate of the first step.", "P B.1", above=0, high=1)
    )
    schedule: Schedule = field(
        default="cosine", metadata=_choice("How the learning rate falls to 0; there is no warm-up.", "P B.1", Schedule)
    )
    adam_eps: float = field(default=1e-5, metadata=_number("Epsilon of Adam.", "N+ 10", above=0, high=1))
    max_summary_tokens: int = field(
        default=128,
        metadata=_count(
            "Longest summary that is scored, the end token included; longer ones are cut.",
            "P B.2",
            low=2,
            high=LONGEST_SUMMARY,
        ),
    )
    seeds: int = field(
        default=1,
        metadata=_count(
            "Heads and data orders tried; the best on the held-out pairs is kept. The paper tries 3 to 10.",
            "P B.1",
            high=100,
        ),
    )
    references: int | None = field(
        default=None,
        metadata=_count(
            "Reference summaries of training documents whose mean score becomes 0; null takes all.",
            "P 3.4",
            optional=True,
        ),
    )
    lora_rank: int = field(default=0, metadata=_lora_rank("transformer"))
    lora_alpha: int = field(default=32, metadata=_LORA_ALPHA)
    lora_targets: LoraTargets = field(default="linear", metadata=_LORA_TARGETS)
    lora_merge: bool = field(default=True, metadata=_LORA_MERGE)
    save_every: int = field(
        default=1,
        metadata=_count("Steps at least between two resume states; they take a twentieth of the time at most.", "Hone"),
    )

    def _divide(self) -> None:
        self._exact("batch", "micro_batch")
        if not self.lora_merge and not self.lora_rank:
            raise InvalidRecipe("reward.lora_merge is False: allowed is true while reward.lora_rank is 0")


@dataclass(frozen=True, kw_only=True)
class PpoRecipe(_Part):
    """The policy against the reward model."""

    section: ClassVar[str] = "ppo"

    episodes: int = field(
        default=1_000_448, metadata=_count("Summaries written and learned from in all.", "P B.1", high=2**31 - 1)
    )
    batch: int = field(default=512, metadata=_count("Episodes per rollout.", "P B.1", high=MOST_SIDE_BY_SIDE))
    samples_per_query: int = field(
        default=1,
        metadata=_count(
            "Summaries of each document in a rollout. They share its reading: more of them cost less each.",
            "P 3.4",
            high=MOST_SIDE_BY_SIDE,
        ),
    )
    minibatches: int = field(
        default=1, metadata=_count("Optimizer steps per pass over a rollout.", "N+ 20", high=MOST_SIDE_BY_SIDE)
    )
    micro_batch: int = field(default=8, metadata=_at_once("Episodes per forward pass; changes memory only."))
    checkpointing: bool = field(default=False, metadata=_CHECKPOINTING)
    epochs: int = field(default=4, metadata=_count("Passes over each rollout.", "P B.1", high=100))
    learning_rate: float = field(
        default=1.5e-5,
        metadata=_number("Learning rate of the first rollout, falling linearly to 0.", "P B.1", above=0, high=1),
    )
    kl_coefficient: float = field(
        default=0.05,
        metadata=_number("Beta: what one nat away from the SFT policy costs.", "P G.1", low=0, high=100),
    )
    clip: float = field(
        default=0.2, metadata=_number("Furthest the probability ratio may pay off.", "LMHP, N+ 20", above=0, high=1)
    )
    value_clip: float = field(
        default=0.2,
        metadata=_number(
            "Furthest a value may move from its rollout value; gae only.", "LMHP, N+ 20", above=0, high=100
        ),
    )
    value_coefficient: float = field(
        default=0.1, metadata=_number("Weight of the value loss; gae only.", "LMHP, N+ 20", low=0, high=100)
    )
    gamma: float = field(default=1.0, metadata=_number("Discount per token.", "P B.1", above=0, high=1))
    gae_lambda: float = field(
        default=0.95, metadata=_number("Lambda of generalised advantage estimation; gae only.", "P B.1", low=0, high=1)
    )
    temperature: float = field(
        default=0.7,
        metadata=_number(
            "Rollout temperature; divides the logits in every log-probability.", "N+ 26", above=0, high=10
        ),
    )
    missing_eos_score: float = field(
        default=-1.0,
        metadata=_number(
            "Score of a summary without an end token, instead of the reward model's.", "N+ 23", low=-1000, high=1000
        ),
    )
    whiten_rewards: bool = field(
        default=False, metadata=_switch("Divide rewards by their deviation, mean kept.", "N+ 24")
    )
    whiten_advantages: bool = field(
        default=True, metadata=_switch("Give advantages mean 0 and deviation 1 over real tokens.", "N+ 25")
    )
    advantage: Advantage = field(
        default="gae",
        metadata=_choice(
            "`gae`: by a value network that learns along. `rloo`: how much more a summary earns than the others of its "
            "document, the same for all its tokens; no value network is loaded, trained or saved.",
            "P B.1; rloo: Ahmadian et al. 2024",
            Advantage,
        ),
    )
    stop_kl: float | None = field(
        default=None,
        metadata=_number(
            "Stop before learning from a rollout whose mean KL in nats is above this; null never stops.",
            "Hone",
            above=0,
            high=10_000,
            optional=True,
        ),
    )
    stop_preference_drop: float | None = field(
        default=None,
        metadata=_number(
            "Stop when the estimated preference over the SFT policy on held-out documents, between 0 and 1, is so far "
            "below its best; null never estimates it. The reward model estimates it from the likeliest summaries: it "
            "sees a policy that collapses or gets worse on new documents, and not what the reward model gets wrong, "
            "which only people see.",
            "Hone",
            above=0,
            high=1,
            optional=True,
        ),
    )
    preference_every: int = field(
        default=8, metadata=_count("Rollouts from one preference estimate to the next.", "Hone", high=LARGE)
    )
    preference_documents: int = field(
        default=64, metadata=_count("Held-out documents of a preference estimate.", "Hone", high=MOST_SIDE_BY_SIDE)
    )
    lora_rank: int = field(default=0, metadata=_lora_rank("policy"))
    value_lora_rank: int = field(default=0, metadata=_lora_rank("value network"))
    lora_alpha: int = field(default=32, metadata=_LORA_ALPHA)
    lora_targets: LoraTargets = field(default="linear", metadata=_LORA_TARGETS)
    lora_merge: bool = field(default=True, metadata=_LORA_MERGE)
    start_from: StartFrom = field(
        default="sft",
        metadata=_choice("Weights the policy starts from: the SFT ones or the current policy's.", "P 3.1", StartFrom),
    )
    adam_eps: float = field(default=1e-5, metadata=_number("Epsilon of Adam.", "N+ 20, 28", above=0, high=1))
    save_every: int = field(
        default=1,
        metadata=_count(
            "Passes over a rollout between two resume states; they take a twentieth of the time at most.", "Hone"
        ),
    )

    def _divide(self) -> None:
        self._exact("episodes", "batch")
        self._exact("batch", "minibatches")
        if self.minibatch % self.micro_batch:
            raise InvalidRecipe(
                f"ppo.micro_batch is {self.micro_batch}: allowed is a divisor of ppo.batch / ppo.minibatches, "
                f"which is {self.minibatch}"
            )
        if self.minibatch % self.samples_per_query:
            raise InvalidRecipe(
                f"ppo.samples_per_query is {self.samples_per_query}: allowed is a divisor of "
                f"ppo.batch / ppo.minibatches, which is {self.minibatch}"
            )
        if not self.lora_merge and not (self.lora_rank or self.value_lora_rank):
            raise InvalidRecipe(
                "ppo.lora_merge is False: allowed is true while ppo.lora_rank and ppo.value_lora_rank are 0"
            )
        if self.advantage == "rloo":
            self._leave_one_out()

    def _leave_one_out(self) -> None:
        """Refuse what the estimate cannot do: a single summary has no others, and a summary is one act, no discount."""
        if self.samples_per_query < 2:
            raise InvalidRecipe(
                f"ppo.samples_per_query is {self.samples_per_query}: allowed is at least 2 with ppo.advantage rloo"
            )
        if self.gamma != 1:
            raise InvalidRecipe(f"ppo.gamma is {self.gamma!r}: allowed is 1 with ppo.advantage rloo")
        if self.value_lora_rank:
            raise InvalidRecipe(
                f"ppo.value_lora_rank is {self.value_lora_rank}: allowed is 0 with ppo.advantage rloo, "
                "which has no value network"
            )

    @property
    def learns_values(self) -> bool:
        """Whether a value network is trained beside the policy."""
        return self.advantage == "gae"

    @property
    def minibatch(self) -> int:
        """Episodes per optimizer step."""
        return self.batch // self.minibatches

    @property
    def queries(self) -> int:
        """Documents per rollout."""
        return self.batch // self.samples_per_query

    @property
    def steps(self) -> int:
        """Optimizer steps per rollout."""
        return self.epochs * self.minibatches

    @property
    def rollouts(self) -> int:
        """How many times the policy writes a batch and learns from it."""
        return self.episodes // self.batch


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe(_Part):
    """How a policy is measured on validation documents."""

    section: ClassVar[str] = "evaluation"

    documents: int = field(default=1000, metadata=_count("Validation documents summarized.", "Hone"))
    temperature: float = field(
        default=0.0, metadata=_number("Sampling temperature; 0 takes the likeliest token.", "P 3.4", low=0, high=10)
    )
    batch: int = field(default=32, metadata=_at_once("Summaries written side by side."))


@dataclass(frozen=True, kw_only=True)
class PromotionRecipe(_Part):
    """When a round's new policy becomes the one that writes the next pairs."""

    section: ClassVar[str] = "promotion"

    by: PromotedBy = field(
        default="gate",
        metadata=_choice(
            "`gate`: it becomes current by itself when nothing below speaks against it; `hand`: it waits for an admin.",
            "Hone",
            PromotedBy,
        ),
    )
    most_kl: float = field(
        default=45.0,
        metadata=_number(
            "KL from the fine-tuned policy in nats, at most; also the limit of the over-optimisation monitor. Of four "
            "1B runs of Huang et al. those that ended at 36 and 40 nats won 62 % and 54 % against the references, and "
            "those at 50 and 86 won 22 % and 20 %.",
            "N+",
            above=0,
            high=10_000,
        ),
    )
    least_accuracy: float = field(
        default=0.5,
        metadata=_number(
            "Share of held-out pairs on which the reward model agrees with labelers, at least; 0 asks nothing.",
            "Hone",
            low=0,
            high=1,
        ),
    )
    pause_on_alarm: bool = field(
        default=False,
        metadata=_switch(
            "Pause the round when the over-optimisation monitor gives an alarm while PPO runs: once, so that somebody "
            "looks.",
            "Hone",
        ),
    )


@dataclass(frozen=True, kw_only=True)
class ContinuousRecipe(_Part):
    """How continuous mode keeps labelers busy and launches rounds, and when it has asked for enough.

    The budget is counted from the moment at which the mode is turned on.
    """

    section: ClassVar[str] = "continuous"

    least_open: int = field(
        default=1024,
        metadata=_count(
            "More pairs are sampled when fewer opinions than this are still needed. What labelers do while a worker "
            "trains, and cannot sample, has to fit in.",
            "Hone",
        ),
    )
    pairs: int = field(
        default=2048, metadata=_count("Comparisons sampled at a time, by the current policy.", "Hone", high=MOST_PAIRS)
    )
    launch_after: int = field(
        default=8192,
        metadata=_count("The next round begins when so many preferences came in that no round has counted.", "Hone"),
    )
    launch_schedule: LaunchSchedule = field(
        default="constant",
        metadata=_choice(
            "`constant`: as many for every round; `annealed`: fewer from round to round, falling as the label rate of "
            "rl-teacher does, to a hundredth after `most_rounds`.",
            "Christiano et al. 2017",
            LaunchSchedule,
        ),
    )
    most_opinions: int = field(
        default=65_536,
        metadata=_count("Opinions asked for in all, at most; the study's reward model learned from 64,832.", "P 1"),
    )
    most_rounds: int = field(
        default=8, metadata=_count("Rounds launched in all. Then the mode turns itself off.", "Hone", high=1000)
    )

    def _divide(self) -> None:
        if self.launch_after > self.most_opinions:
            raise InvalidRecipe(
                f"continuous.launch_after is {self.launch_after}: allowed is at most continuous.most_opinions, "
                f"which is {self.most_opinions}"
            )


_PARTS: dict[str, Callable[[object], Any]] = {
    part.section: part.from_dict
    for part in (
        SamplingRecipe,
        PairingRecipe,
        SftRecipe,
        LabelsRecipe,
        RewardRecipe,
        PpoRecipe,
        EvaluationRecipe,
        PromotionRecipe,
        ContinuousRecipe,
    )
}


_NAME = "a text of 1 to 60 visible characters"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a round computes, apart from its data and its base model."""

    name: str = field(metadata={"doc": "What people call it.", "source": "Hone"})
    precision: Precision = field(
        default="auto",
        metadata=_choice(
            "`fp32`; `bf16`: fp32 weights, matrix products in bfloat16 by autocast; `auto`: `bf16` where the GPU or "
            "the processor has instructions for it (elsewhere it is many times slower than `fp32`), else `fp32`.",
            "N+ 8",
            Precision,
        ),
    )
    seed: int = field(
        default=1, metadata=_count("Every draw of the round follows from it.", "N+ 27", low=0, high=2**31 - 1)
    )
    sampling: SamplingRecipe = field(default_factory=SamplingRecipe)
    pairing: PairingRecipe = field(default_factory=PairingRecipe)
    sft: SftRecipe = field(default_factory=SftRecipe)
    labels: LabelsRecipe = field(default_factory=LabelsRecipe)
    reward: RewardRecipe = field(default_factory=RewardRecipe)
    ppo: PpoRecipe = field(default_factory=PpoRecipe)
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)
    promotion: PromotionRecipe = field(default_factory=PromotionRecipe)
    continuous: ContinuousRecipe = field(default_factory=ContinuousRecipe)

    def __post_init__(self) -> None:
        named = isinstance(self.name, str) and self.name.strip() and len(self.name) <= 60 and self.name.isprintable()
        if not named:
            raise InvalidRecipe(f"name is {_said(self.name)}: allowed is {_NAME}")
        for each in fields(self):
            if "about" in each.metadata:
                object.__setattr__(
                    self, each.name, _checked(each.name, getattr(self, each.name), each.metadata["about"])
                )
        if self.pairing.best_of_share and not self.sampling.temperature:
            raise InvalidRecipe(
                f"pairing.best_of_share is {self.pairing.best_of_share:g}: allowed is 0 while sampling.temperature is "
                "0, where all summaries of a document are the same"
            )

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """A recipe from JSON values. A field left out takes its default, an unknown name is refused.

        Raises InvalidRecipe, whose message names the path of the field (`ppo.clip`), its value and what is allowed.
        """
        known = _known("", values, [each.name for each in fields(cls)])
        if "name" not in known:
            raise InvalidRecipe(f"name is missing: allowed is {_NAME}")
        return cls(**{name: _PARTS[name](value) if name in _PARTS else value for name, value in known.items()})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; `from_dict` gives an equal recipe back."""
        plain = {"name": self.name, "precision": self.precision, "seed": self.seed}
        return plain | {section: cast(_Part, getattr(self, section)).to_dict() for section in _PARTS}

    def decisive(self) -> dict[str, Any]:
        """`to_dict` without the fields that change memory and time alone."""
        return self.to_dict() | {section: cast(_Part, getattr(self, section)).decisive() for section in _PARTS}

    def digest(self) -> str:
        """sha256 of the canonical JSON: equal for equal recipes on every machine."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


PAPER = Recipe(
    name="paper",
    # Shares of the labels in Table 11: 43.6 % have the reference on one side, 41.5 % are two samples of one policy. Two
    # policies meet in the others: one of them the best of several in 10.8 %, neither in 4.1 %.
    pairing=PairingRecipe(reference_share=0.436, initial_share=0.041, best_of_share=0.108),
)

# For models of 100 million to 3 billion weights. Noukhovitch et al. 2024 (arXiv 2410.18252, 410M to 2.8B on TL;DR): the
# reward model at 1e-5, PPO at 3e-6 (N+ 20 has it for 1B to 6.9B), and 131,072 episodes are enough. SFT is the paper's
# 6.35e-5 (P B.1), rounded, at half its batch for want of half its documents. Counts of pairs, references and documents
# are Hone's: what a small group can judge and one GPU can measure.
SMALL = Recipe(
    name="small",
    pairing=PairingRecipe(pairs=2048, reference_share=0.5, held_out_share=0.1),
    sft=SftRecipe(learning_rate=6e-5, batch=64),
    reward=RewardRecipe(learning_rate=1e-5, references=2048),
    ppo=PpoRecipe(learning_rate=3e-6, episodes=131_072),
    evaluation=EvaluationRecipe(documents=512),
    continuous=ContinuousRecipe(least_open=256, pairs=512, launch_after=2048, most_opinions=16_384),
)

DEMO = Recipe(
    name="demo",
    sampling=SamplingRecipe(max_query_tokens=192, batch=16),
    pairing=PairingRecipe(pairs=64, reference_share=0.5, held_out_share=0.25),
    sft=SftRecipe(documents=96, batch=16, micro_batch=4, learning_rate=1e-4),
    reward=RewardRecipe(batch=8, micro_batch=4, learning_rate=2e-5, max_summary_tokens=64, references=16),
    ppo=PpoRecipe(episodes=48, batch=16, micro_batch=4, epochs=1, learning_rate=1e-5),
    evaluation=EvaluationRecipe(documents=16, batch=8),
    # Too few pairs are held out for a share of them to say anything.
    promotion=PromotionRecipe(least_accuracy=0),
    continuous=ContinuousRecipe(least_open=16, pairs=32, launch_after=64, most_opinions=256, most_rounds=4),
)

TINY = Recipe(
    name="tiny",
    precision="fp32",
    sampling=SamplingRecipe(max_query_tokens=96, max_summary_tokens=24, batch=16),
    pairing=PairingRecipe(pairs=12, reference_share=0.5, held_out_share=0.25),
    sft=SftRecipe(documents=48, batch=8, micro_batch=8, learning_rate=3e-3),
    reward=RewardRecipe(batch=4, micro_batch=4, learning_rate=3e-4, max_summary_tokens=48, references=16),
    ppo=PpoRecipe(episodes=16, batch=8, micro_batch=8, learning_rate=1e-4),
    evaluation=EvaluationRecipe(documents=8, batch=8),
    promotion=PromotionRecipe(least_accuracy=0),
    continuous=ContinuousRecipe(least_open=6, pairs=8, launch_after=12, most_opinions=48, most_rounds=3),
)

NAMED: dict[str, Recipe] = {recipe.name: recipe for recipe in (PAPER, SMALL, DEMO, TINY)}

DEMO_HOURS = 0.4
"""What two rounds of the recipe `demo` take on two CPU cores, labeling by simulation included."""


def scaled(recipe: Recipe, hours: float) -> Recipe:
    """The recipe with more documents, pairs and episodes, so that what takes DEMO_HOURS as it is takes about `hours`.

    Batches and learning rates stay; counts grow in proportion, to whole batches, and never shrink. Raises
    InvalidRecipe unless 0 < hours <= 1000.
    """
    if isinstance(hours, bool) or not math.isfinite(hours) or not 0 < hours <= 1000:
        raise InvalidRecipe(f"hours is {hours!r}: allowed is a number above 0 and at most 1000")
    times = max(1.0, hours / DEMO_HOURS)

    def grown(count: int, step: int = 1) -> int:
        return max(count, int(count * times) // step * step)

    sft, pairing, reward, ppo, evaluation = recipe.sft, recipe.pairing, recipe.reward, recipe.ppo, recipe.evaluation
    return replace(
        recipe,
        name=f"{recipe.name}-{hours:g}h",
        sft=replace(sft, documents=None if sft.documents is None else grown(sft.documents)),
        pairing=replace(pairing, pairs=grown(pairing.pairs)),
        reward=replace(reward, references=None if reward.references is None else grown(reward.references)),
        ppo=replace(ppo, episodes=grown(ppo.episodes, ppo.batch)),
        evaluation=replace(evaluation, documents=grown(evaluation.documents)),
    )
