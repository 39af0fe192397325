"""TRL's RewardTrainer on given tokens: `python -m benchmarks.peers.trl_reward JOB.json`, in an environment of its own.

Started by benchmarks.reward; requirements-trl-1.16.txt says what it needs. Prints one JSON object: what was reached,
and what was in force. Of Hone it imports the meter of the cores.
"""

import json
import os
import resource
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

from benchmarks.peers.trl_clock import Clock


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Trains on the pairs of token ids in the order given and gives what was measured."""
    torch.set_num_threads(job["threads"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=1, dtype=torch.float32)
    steps = len(job["chosen_ids"]) // job["batch"]
    clock = Clock(steps)
    seen: list[str] = []
    linear = next(each for each in model.modules() if isinstance(each, torch.nn.Linear))
    hook = linear.register_forward_hook(lambda layer, inputs, output: seen.append(str(output.dtype)))
    with tempfile.TemporaryDirectory() as folder:
        trainer = RewardTrainer(
            model=model,
            args=RewardConfig(
                output_dir=folder,
                per_device_train_batch_size=job["micro_batch"],
                gradient_accumulation_steps=job["batch"] // job["micro_batch"],
                max_steps=steps,
                train_sampling_strategy="sequential",  # the order given is already drawn
                learning_rate=job["learning_rate"],
                lr_scheduler_type="cosine",
                adam_epsilon=job["adam_eps"],
                max_grad_norm=0.0,
                max_length=None,
                bf16=job["dtype"] == "bf16",
                use_cpu=not torch.cuda.is_available(),
                gradient_checkpointing=False,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict({name: job[name] for name in ("chosen_ids", "rejected_ids")}),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.train()
    hook.remove()
    return {
        "seconds": clock.seconds,
        "steps": steps - 1,
        "losses": [each["loss"] for each in trainer.state.log_history if "loss" in each],
        "cores": clock.used.of,
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "products_in": sorted(set(seen)),
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "accelerate")},
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
