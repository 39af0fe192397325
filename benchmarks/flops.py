"""How many floating-point operations the mathematics of an update takes, whatever a program spends on it.

Knows the shape of a transformer. Counted as in Chowdhery et al. 2022 (PaLM), appendix B, whose "6N + 12LHQT" per token
is forward and backward: a forward pass is a third of it, 2 operations for each weight of a matrix and 4 for each layer,
width of attention and token that is seen. Here a token sees only what is before it, the embedding table is looked up
and not multiplied, and the vocabulary is projected to at summary tokens alone. Recomputed and padded tokens count
nothing; the last layer counts for all tokens, also where it is worked out for some (worker.training.last_layer).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Shape:
    """`weights` of all matrices in the layers; `projection` = vocabulary x width; `attended` = heads x their width."""

    weights: int
    projection: int
    layers: int
    attended: int

    @classmethod
    def of(cls, model: Any) -> Self:
        """That of a causal LM of transformers."""
        config = model.config.get_text_config()
        tables = {id(each.weight) for each in (model.get_input_embeddings(), model.get_output_embeddings())}
        weights = sum(each.numel() for each in model.parameters() if each.ndim > 1 and id(each) not in tables)
        heads = config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        return cls(weights, config.vocab_size * config.hidden_size, config.num_hidden_layers, heads * width)

    def forward(self, prompt: int, summary: float, samples: int) -> float:
        """One pass over a document and so many summaries of it, which share it; without vocabulary."""
        tokens = prompt + samples * summary
        seen = prompt * (prompt + 1) / 2 + samples * summary * (prompt + (summary + 1) / 2)
        return 2 * self.weights * tokens + 4 * self.layers * self.attended * seen

    def ppo(self, prompts: Sequence[int], summary: float, samples: int, epochs: int) -> float:
        """An update on documents of so many tokens each, with `samples` summaries of each of `summary` tokens.

        The policy reads once to write and once to be scored, so do reference, value and reward model; then policy and
        value network learn, and a backward pass is two forward passes.
        """
        policies, scalars = 3 + 3 * epochs, 2 + 3 * epochs
        read = sum(self.forward(prompt, summary, samples) for prompt in prompts)
        return (policies + scalars) * read + policies * 2 * self.projection * len(prompts) * samples * summary
