"""Whether the training engine learns, on real data: one module for each question, one JSON line for each figure.

`sft`: does fine-tuning teach. `rules`: what a reward model has to beat. `reward`: does one see more than length.
`overoptimisation`: what PPO and best-of-N do to a gold reward that they do not see. What came out: docs/results.md.
"""
