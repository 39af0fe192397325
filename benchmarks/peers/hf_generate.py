"""transformers' generate() on given prompts: `python -m benchmarks.peers.hf_generate JOB.json`.

Started by benchmarks.sampling. Prints one JSON object: what was reached, and what was in force. Of Hone it imports the
meter of the cores.
"""

import json
import os
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from benchmarks.machine import shares


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Writes the samples of all prompts in batches, in the order given, and gives what was measured."""
    torch.set_num_threads(job["threads"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(job["model"], dtype=torch.float32).to(device).eval()
    sampling, pad, eos = job["sampling"], job["pad"], job["eos"]
    settings: Any = GenerationConfig
    config = settings(
        max_new_tokens=sampling["max_summary_tokens"],
        do_sample=True,
        temperature=sampling["temperature"],
        top_k=0,
        top_p=1.0,
        num_return_sequences=job["samples"],
        pad_token_id=pad,
        eos_token_id=eos,
    )
    seen: list[str] = []
    linear = next(each for each in model.modules() if isinstance(each, torch.nn.Linear))
    hook = linear.register_forward_hook(lambda layer, inputs, output: seen.append(str(output.dtype)))

    def write(prompts: list[list[int]]) -> int:
        """The summary tokens written, up to and with the end token."""
        width = max(map(len, prompts))
        ids = torch.tensor([[pad] * (width - len(each)) + each for each in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in prompts], device=device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=job["dtype"] == "bf16"):
            found = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        ended = (found[:, width:] == eos).cumsum(1)
        return int((ended - (found[:, width:] == eos).long() == 0).sum())

    torch.manual_seed(1)
    documents = sampling["batch"] // job["samples"]
    batches = [job["prompts"][start : start + documents] for start in range(0, len(job["prompts"]), documents)]
    write(batches[0])
    hook.remove()
    with shares({"own": [os.getpid()]}) as used:
        began = time.perf_counter()
        written = sum(map(write, batches[1:]))
        seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "tokens": written,
        "cores": used.of,
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "products_in": sorted(set(seen)),
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
