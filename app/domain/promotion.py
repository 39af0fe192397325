"""Whether a new policy becomes the one that writes the next pairs by itself: what speaks against it, in words.

Knows the recipe's gate and the evidence it looks at. Knows nothing of where the evidence comes from or what follows.
"""

from collections.abc import Sequence

from app.domain.intervals import Estimate
from app.domain.recipes import PromotionRecipe

BY_HAND = "The recipe asks an admin to decide."


def objections(gate: PromotionRecipe, kl: Estimate, accuracy: Estimate, alarms: Sequence[str]) -> list[str]:
    """Sentences that speak against a policy becoming current by itself; none when nothing does.

    `kl` in nats from the fine-tuned policy; `accuracy` of the reward model on held-out pairs, in [0, 1]; `alarms` of
    the over-optimisation monitor. A figure that is asked for and missing speaks against it: nobody knows then.
    """
    found = [BY_HAND] if gate.by == "hand" else []
    if kl.value is None:
        found.append("Its KL from the fine-tuned policy was not measured.")
    elif kl.value > gate.most_kl:
        found.append(
            f"Its KL from the fine-tuned policy is {kl.value:.1f} nats, above promotion.most_kl ({gate.most_kl:g})."
        )
    if gate.least_accuracy and accuracy.value is None:
        found.append(
            "No pair was held out, so nobody knows how often its reward model agrees with labelers "
            f"(promotion.least_accuracy is {gate.least_accuracy:g})."
        )
    elif accuracy.value is not None and accuracy.value < gate.least_accuracy:
        found.append(
            f"Its reward model agrees with labelers on {accuracy.value:.1%} of {accuracy.n:,} held-out pairs, below "
            f"promotion.least_accuracy ({gate.least_accuracy:g})."
        )
    return [*found, *alarms]
