"""TRL's PPOTrainer on given prompts: `python -m benchmarks.peers.trl_ppo JOB.json`, in an environment of its own.

Started by benchmarks.ppo; requirements-trl-1.12.txt says what it needs. Prints one JSON object: what was reached, how
long writing and scoring took, and what was in force. Of Hone it imports the meter of the cores.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.peers.trl_clock import Clock


class PhaseClock(Clock):
    """Also adds up how long the functions of TRL's module took that write and that score, from step to step."""

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.spent = {"writing": 0.0, "scoring": 0.0}
        self.phases: list[dict[str, float]] = []

    def wrap(self, module: Any, name: str, phase: str) -> None:
        """Times one function while no gradients are taken; with gradients it belongs to learning."""
        inner: Callable[..., Any] = getattr(module, name)

        def timed(*args: Any, **named: Any) -> Any:
            if torch.is_grad_enabled():
                return inner(*args, **named)
            began = time.perf_counter()
            found = inner(*args, **named)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.spent[phase] += time.perf_counter() - began
            return found

        setattr(module, name, timed)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Keeps what was spent so far."""
        super().on_step_end(args, state, control, **others)
        self.phases.append(dict(self.spent))


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Trains on the prompts in the order given and gives what was measured."""
    if job["dtype"] == "bf16":
        # PPOConfig(bf16=True) alone changes nothing: the trainer makes an Accelerator of its own without it.
        os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
    import trl.experimental.ppo.ppo_trainer as module
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    torch.set_num_threads(job["threads"])
    recipe = job["recipe"]
    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    policies = [AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32) for _ in range(2)]
    scalars = [
        AutoModelForSequenceClassification.from_pretrained(job["reward"], num_labels=1, dtype=torch.float32)
        for _ in range(2)
    ]
    rows = Dataset.from_dict({"input_ids": job["prompts"]})
    updates = len(job["prompts"]) // recipe["batch"]
    clock = PhaseClock(updates)
    clock.wrap(module, "batch_generation", "writing")
    clock.wrap(module, "forward", "scoring")
    clock.wrap(module, "get_reward", "scoring")
    settings: dict[str, Any] = {}
    if job["dtype"] is not None:
        settings = {
            "bf16": job["dtype"] == "bf16",
            "gradient_checkpointing": False,
            "local_rollout_forward_batch_size": job["side_by_side"],
            "adam_epsilon": recipe["adam_eps"],
        }
    seen: list[str] = []
    linear = next(each for each in policies[0].modules() if isinstance(each, torch.nn.Linear))
    hook = linear.register_forward_hook(
        lambda layer, inputs, output: seen.append(str(output.dtype)) if torch.is_grad_enabled() else None
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            args=PPOConfig(
                output_dir=folder,
                per_device_train_batch_size=recipe["micro_batch"],
                gradient_accumulation_steps=recipe["batch"] // recipe["micro_batch"],
                num_mini_batches=recipe["minibatches"],
                num_ppo_epochs=recipe["epochs"],
                total_episodes=len(job["prompts"]),
                response_length=job["summary_tokens"],
                stop_token_id=tokenizer.eos_token_id,
                missing_eos_penalty=1.0,
                temperature=recipe["temperature"],
                kl_coef=recipe["kl_coefficient"],
                cliprange=recipe["clip"],
                cliprange_value=recipe["value_clip"],
                vf_coef=recipe["value_coefficient"],
                gamma=recipe["gamma"],
                lam=recipe["gae_lambda"],
                learning_rate=recipe["learning_rate"],
                num_sample_generations=0,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
                **settings,
            ),
            processing_class=tokenizer,
            model=policies[0],
            ref_model=policies[1],
            reward_model=scalars[0],
            value_model=scalars[1],
            train_dataset=rows,
            eval_dataset=rows.select([0]),
            callbacks=[clock],
        )
        # The order given is already drawn.
        trainer.dataloader = DataLoader(rows, batch_size=recipe["batch"], collate_fn=trainer.data_collator)
        trainer.train()
    hook.remove()
    first, last = clock.phases[0], clock.phases[-1]
    told = [each for each in trainer.state.log_history if "objective/kl" in each]
    return {
        "seconds": clock.seconds,
        "phases": {name: last[name] - first[name] for name in last},
        "kl": told[-1]["objective/kl"],
        "cores": clock.used.of,
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "peak_gpu_mib": round(torch.cuda.max_memory_allocated() / 2**20) if torch.cuda.is_available() else None,
        "products_in": sorted(set(seen)),
        "checkpointing": trainer.model.policy.is_gradient_checkpointing,
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "accelerate")},
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
