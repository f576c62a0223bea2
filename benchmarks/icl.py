"""In-context scoring against lm-evaluation-harness: the same checkpoint, rows, shots and predictions, in one run.

Run: python benchmarks/icl.py [CASE ...]      cases: gpt2, llama, t5, shots, gpt2-choices, t5-choices.
     python benchmarks/icl.py many-shots DIR [--quick]      0 to 1,024 shots of TREC: `benchmarks/many_shots.py`.
Needs the extra `benchmark`.

Each side runs in a process of its own, with the batch size that suits it best among some; with many choices both run in
one process by turns, so that they share a busy machine's good and bad minutes, and memory is that of both. Both sides'
log-probabilities must agree. The token ratio is what the peer runs (context, query and choice for each choice) over
what must be run at least (the query once, what choices begin with alike once; on encoder-decoders the input once):
where nothing but tokens counted, it would be the speed-up. Rates are of CPU seconds, of all threads: OMP_NUM_THREADS=1
makes them comparable on a busy machine.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median

from benchmarks.chosen import chosen
from peftbench.spec.cell import Scoring
from tests.scoring.prompts import example

WORDS = [
    "the",
    "premise",
    "says",
    "that",
    "hypothesis",
    "does",
    "follow",
    "yes",
    "no",
    "true",
    "false",
    "maybe",
    "question",
    "answer",
    "positive",
    "negative",
]
SHOT_WORDS, QUERY_WORDS, CHOICE_WORDS = 9, 7, 2
BATCH_SIZES = 1, 4  # of the peer


@dataclass(frozen=True)
class Case:
    """What is scored: a model's shape, the shots in front, the choices, how many queries each side gets, and how."""

    family: str
    shots: int
    choices: int
    queries: int
    peer_queries: int
    by_turns: bool = False


CASES = {
    "gpt2": [Case("gpt2", 32, 2, 240, 8), Case("gpt2", 32, 4, 240, 4)],
    "llama": [Case("llama", 32, 2, 240, 8), Case("llama", 32, 4, 240, 4)],
    "t5": [Case("t5", 32, choices, 12, 4) for choices in (2, 4, 8)],
    "quick": [Case("gpt2", 32, 2, 48, 2)],
    "shots": [Case("gpt2", shots, 2, 96, 0) for shots in (0, 4, 16, 32)],
} | {
    f"{family}-choices": [
        Case(family, 4, choices, queries, peer_queries, by_turns=True)
        for choices, queries, peer_queries in ((2, 16, 4), (8, 16, 2), (32, 8, 1), (77, 8, 1))
    ]
    for family in ("gpt2", "t5")
}


def phrase(generator: Random, length: int) -> str:
    return " ".join(generator.choice(WORDS) for _ in range(length))


def prompts(case: Case, number: int) -> list[tuple[str, tuple[str, ...]]]:
    """Write queries, each behind the same shots, with choices of two words."""
    generator = Random(0)
    phrases: dict[str, None] = {}
    while len(phrases) < case.choices:
        phrases[phrase(generator, CHOICE_WORDS)] = None
    choices = tuple(phrases)
    shots = [f"{phrase(generator, SHOT_WORDS)} {generator.choice(choices)}" for _ in range(case.shots)]
    return [("\n\n".join((*shots, phrase(generator, QUERY_WORDS))), choices) for _ in range(number)]


def checkpoint(family: str, folder: Path) -> None:
    """Write a random model in the shape of GPT-2 small, a Llama of 100 M parameters, or T5 base."""
    import torch
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        T5Config,
        T5ForConditionalGeneration,
    )

    from tests.tiny import tiny_tokenizer

    torch.manual_seed(0)
    if family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(pad_token_id=0, bos_token_id=1, eos_token_id=1))
    elif family == "llama":
        heads = {"num_attention_heads": 12, "num_key_value_heads": 4, "num_hidden_layers": 12}
        sizes = {"vocab_size": 32000, "hidden_size": 768, "intermediate_size": 2048, "max_position_embeddings": 2048}
        special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
        model = LlamaForCausalLM(LlamaConfig(**sizes, **heads, **special))
    else:
        sizes = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
        model = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))
    model.save_pretrained(folder)
    tiny_tokenizer(family).save_pretrained(folder)


def ours(folder: str, case: Case) -> Callable[[], dict]:
    """Score through peftbench: a function that returns log-probabilities, seconds, and the tokens that were run."""
    from peftbench.models.load import load
    from peftbench.scoring.score import score

    backbone = load(folder, device="cpu")
    queries = [example(text, choices) for text, choices in prompts(case, case.queries)]
    score(backbone, queries[:2], Scoring(end="none", separator="\n\n"))

    def run() -> dict:
        started = time.process_time()
        scores = score(backbone, queries, Scoring(end="none", separator="\n\n"))
        seconds = time.process_time() - started
        return {
            "log_probs": [[choice.log_prob for choice in choices] for choices in scores.choices],
            "seconds": seconds / len(queries),
            "context": sum(length.context for length in scores.lengths) / len(queries),
            "tokens": (scores.work.context_tokens + scores.work.choice_tokens) / len(queries),
            "megabytes": peak_megabytes(),
        }

    return run


def peer(folder: str, case: Case) -> Callable[[int], dict]:
    """Score through lm-evaluation-harness: one request for each choice, as its multiple-choice tasks make them."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    is_t5 = case.family == "t5"
    requests = [
        Instance("loglikelihood", {}, (text, choice if is_t5 else f" {choice}"), index)
        for index, (text, choices) in enumerate(prompts(case, case.peer_queries))
        for choice in choices
    ]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = sum(len(tokenizer("".join(request.args)).input_ids) for request in requests)
    backend = "seq2seq" if is_t5 else "causal"
    model = HFLM(folder, backend=backend, device="cpu", batch_size=1, dtype="float32")
    model.loglikelihood(requests[:1], disable_tqdm=True)  # as on our side, the first pass is not timed

    def run(batch_size: int) -> dict:
        model.batch_size_per_gpu = batch_size
        started = time.process_time()
        answers = model.loglikelihood(requests, disable_tqdm=True)
        seconds = (time.process_time() - started) / case.peer_queries
        sums = [float(log_prob) for log_prob, _ in answers]
        rows = [sums[start : start + case.choices] for start in range(0, len(sums), case.choices)]
        return {
            "log_probs": rows,
            "seconds": seconds,
            "tokens": tokens / case.peer_queries,
            "megabytes": peak_megabytes(),
        }

    return run


def seconds_of(result: dict) -> float:
    return result["seconds"]


def only_ours(folder: str, case: Case) -> dict:
    return ours(folder, case)()


def only_peer(folder: str, case: Case) -> dict:
    """Return what the better batch size gives; the smaller one is first, as the peak so far is then its own."""
    return min(map(peer(folder, case), BATCH_SIZES), key=seconds_of)


def by_turns(folder: str, case: Case) -> dict:
    """Run ours before and behind each of the peer's batch sizes; ours takes the median, the peer the better one."""
    run_ours, run_peer = ours(folder, case), peer(folder, case)
    own, others = [run_ours()], []
    for batch_size in BATCH_SIZES:
        others.append(run_peer(batch_size))
        own.append(run_ours())
    return {"ours": own[0] | {"seconds": median(map(seconds_of, own))}, "peer": min(others, key=seconds_of)}


def write(folder: str, case: Case) -> dict:
    """Write the checkpoint."""
    checkpoint(case.family, Path(folder))
    return {}


SIDES = {"ours": only_ours, "peer": only_peer, "by turns": by_turns, "write": write}


def peak_megabytes() -> float:
    """Return the largest resident size of this process so far, in 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def child(side: str, folder: str, case: Case) -> dict:
    """Run a side in a process of its own."""
    words = [sys.executable, __file__, "--child", side, folder, json.dumps(asdict(case))]
    process = subprocess.run(words, capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(process.stderr)
    return json.loads(process.stdout.splitlines()[-1])


def compare(case: Case, folder: str) -> None:
    """Print one line: our rate, and beside a peer's, the speed-up, its limit, and how far log-probabilities differ."""
    if case.by_turns:
        result, peer_result = child("by turns", folder, case).values()
    else:
        result, peer_result = child("ours", folder, case), child("peer", folder, case) if case.peer_queries else {}
    line = f"{case.family:>6} {case.shots:>5} {case.choices:>7} {result['context']:>7.0f} {1 / result['seconds']:>9.2f}"
    line += f" {result['megabytes']:>8.0f}"
    if peer_result:
        pairs = list(zip(result["log_probs"], peer_result["log_probs"], strict=False))
        apart = max(abs(a - b) for row_a, row_b in pairs for a, b in zip(row_a, row_b, strict=True))
        assert apart < 1e-3, f"log-probabilities differ by {apart}"
        assert all(row_a.index(max(row_a)) == row_b.index(max(row_b)) for row_a, row_b in pairs)
        ratio, limit = peer_result["seconds"] / result["seconds"], peer_result["tokens"] / result["tokens"]
        line += f" {1 / peer_result['seconds']:>9.3f} {peer_result['megabytes']:>8.0f} {ratio:>6.1f} {limit:>6.1f}"
        line += f" {ratio / limit:>5.0%} {apart:>8.0e}"
    print(line, flush=True)


def main(names: list[str]) -> None:
    """Run the cases."""
    print(f"{'':>6} {'':>5} {'':>7} {'context':>7} {'ours':>18} {'lm-eval':>18} {'speed-':>6} {'token':>6} {'':>5}")
    print(
        f"{'model':>6} {'shots':>5} {'choices':>7} {'tokens':>7} {'queries/s':>9} {'MB':>8} {'queries/s':>9} {'MB':>8}"
        f" {'up':>6} {'ratio':>6} {'of it':>5} {'apart':>8}"
    )
    with tempfile.TemporaryDirectory() as root:
        for case in (case for name in names for case in CASES[name]):
            folder = Path(root) / case.family
            if not folder.exists():
                child("write", str(folder), case)  # not here: a child's peak begins with its parent's
            compare(case, str(folder))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _, _, side, folder, text = sys.argv
        print(json.dumps(SIDES[side](folder, Case(**json.loads(text)))))
    elif sys.argv[1:2] == ["many-shots"]:
        import many_shots

        many_shots.main(sys.argv[2:])
    else:
        main(chosen([name for name in CASES if name != "quick"], ("quick",)))
