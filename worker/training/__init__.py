"""A torch library that learns to summarize from human feedback. No database, no queue, no settings, no printing.

What callers use: `sft.train`, `reward.train`, `reward.score`, `ppo.train`, `generation.sample`, `evaluation.evaluate`,
`models.prepare_base`, `models.convert_smollm2`, `models.build_tiny`, `checkpoints.digest_directory`; data comes as
`examples`, hyperparameters as `app.domain.recipes`, and everything worth telling goes out through a `metrics.Sink`.
`launching.run` calls a `train` in several processes, one per GPU.
"""
