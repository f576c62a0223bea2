"""The paper's Table 1 by its own formula: each number again, what agrees, and what would give what is printed.

Paper: 2205.05638, section 4.2 (constants and formulas), Table 1 (numbers), Table 9 (accuracy on each data set).
"""

import io
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from peftbench import registry
from peftbench.costs import count, rule, storage
from peftbench.costs.backward import training_flops
from peftbench.costs.published import SHAPES
from peftbench.methods.base import Added, Place
from peftbench.methods.parts import places

METHOD = "ia3"
"""T-Few's; the one method that is named in this room."""
# What section 4.2 states.
SHOT_TOKENS, QUERY_TOKENS, NUM_SHOTS = 98, 103, 41
NUM_STEPS, BATCH_SIZE = 1000, 8
T_FEW = 11 * 10**9
GPT3 = {"GPT-3 6.7B": 6_700_000_000, "GPT-3 13B": 13 * 10**9, "GPT-3 175B": 175 * 10**9}

# Shots of the eleven evaluations: COPA, H-SWAG, StoryCloze, Winogrande, WSC, WiC, RTE, CB, ANLI R1 to R3.
SHOTS = (32, 20, 70, 50, 32, 32, 32, 32, 50, 50, 50)
# Table 9, in the same order.
ACCURACIES = {
    "T-Few": (93.0, 67.1, 97.9, 74.3, 75.0, 62.2, 85.6, 87.5, 59.3, 49.8, 44.8),
    "T0": (90.8, 33.7, 94.7, 60.5, 64.4, 57.2, 81.2, 78.6, 44.7, 39.4, 42.4),
    "T5+LM": (68.0, 60.95, 62.8, 56.9, 63.5, 50.0, 53.4, 32.1, 33.3, 32.7, 34.1),
    "GPT-3 6.7B": (83.0, 67.3, 81.2, 67.4, 67.3, 53.1, 49.5, 60.7, 33.1, 33.1, 33.9),
    "GPT-3 13B": (86.0, 71.3, 83.0, 70.0, 75.0, 51.1, 60.6, 66.1, 33.3, 32.6, 34.5),
    "GPT-3 175B": (92.0, 79.3, 87.7, 77.7, 75.0, 55.3, 72.9, 82.1, 36.8, 34.0, 40.2),
}
PRINTED_ACCURACIES = {
    "T-Few": 72.4, "T0": 66.9, "T5+LM": 49.6, "GPT-3 6.7B": 57.2, "GPT-3 13B": 60.3, "GPT-3 175B": 66.6,
}  # fmt: skip
MIB = 2**20


@dataclass(frozen=True)
class Check:
    """One number of the paper.

    Args:
        row: Whose.
        column: Which.
        formula: As the paper states it, with its constants.
        value: What the formula gives.
        printed: What the paper prints.
        unit: Of both.
        agrees: Whether the value, rounded to the printed digits, is what is printed.
        why: What would give the printed number, or what else is to be known.
    """

    row: str
    column: str
    formula: str
    value: float
    printed: float
    unit: str
    agrees: bool
    why: str = ""


def audit() -> list[Check]:
    """Check each number of Table 1, and the break-even points that follow from it."""
    return [*_inference(), _training(), *_disk(), *_shots(), *_accuracies(), *_break_evens()]


def rounds_to(value: float, printed: float, digits: int = 2) -> bool:
    """Check whether a value is printed so with so many significant digits."""
    return float(f"{value:.{digits - 1}e}") == float(f"{printed:.{digits - 1}e}")


def explain(value: float, printed: float, candidates: Mapping[str, float], digits: int = 2) -> tuple[bool, str]:
    """Find out whether a value agrees with what is printed, and if not which candidates do.

    Args:
        value: By the stated formula.
        printed: In the paper.
        candidates: What may have been computed instead -> its value.
        digits: Significant digits that are printed.
    """
    fitting = [
        f"{what} give{'' if what.endswith('s') else 's'} {other:.{digits + 1}g}"
        for what, other in candidates.items()
        if rounds_to(other, printed, digits)
    ]
    if rounds_to(value, printed, digits):
        return True, ""
    off = f"printed {100 * (printed / value - 1):+.1f}%"
    return False, f"{off}: {'; '.join(fitting) or 'nothing tried here gives it'}"


def _prompt() -> int:
    return NUM_SHOTS * SHOT_TOKENS + QUERY_TOKENS


def _inference() -> list[Check]:
    column, unit = "inference FLOPs", "FLOPs"
    checks = []
    for row in ("T-Few", "T0"):
        value = rule.inference_flops(T_FEW, QUERY_TOKENS, is_encoder_decoder=True)
        agrees, why = explain(value, 1.1e12, {})
        checks.append(Check(row, column, f"11e9 x {QUERY_TOKENS}", value, 1.1e12, unit, agrees, why))
    value = rule.inference_flops(T_FEW, _prompt(), is_encoder_decoder=True)
    ensemble = rule.inference_flops(T_FEW, NUM_SHOTS * (SHOT_TOKENS + QUERY_TOKENS), is_encoder_decoder=True)
    agrees, why = explain(value, 4.5e13, {})
    remark = (
        f"for concatenated shots; the row's accuracy is that of an ensemble of {NUM_SHOTS} one-shot prompts, "
        f"11e9 x {NUM_SHOTS} x ({SHOT_TOKENS} + {QUERY_TOKENS}) = {ensemble:.3e}, {ensemble / value:.1f} x as much"
    )
    checks.append(Check("T5+LM", column, f"11e9 x {_prompt()}", value, 4.5e13, unit, agrees, why or remark))
    for (row, size), printed in zip(GPT3.items(), (5.4e13, 1.0e14, 1.4e15), strict=True):
        value = rule.inference_flops(size, _prompt(), is_encoder_decoder=False)
        shots = rule.inference_flops(size, NUM_SHOTS * SHOT_TOKENS, is_encoder_decoder=False)
        agrees, why = explain(value, printed, {f"the shots without the query's {QUERY_TOKENS} tokens": shots})
        if agrees and rounds_to(shots, printed):
            why = f"so do the shots without the query's {QUERY_TOKENS} tokens, {shots:.3e}"
        checks.append(Check(row, column, f"2 x {size / 1e9:g}e9 x {_prompt()}", value, printed, unit, agrees, why))
    return checks


def _training() -> Check:
    value = _training_flops()
    agrees, why = explain(value, 2.7e16, {})
    query = count.Query(0, QUERY_TOKENS - 4, (2, 2))
    sizes = SHAPES["t0-11b"].sizes
    counted = training_flops(sizes, {query: NUM_STEPS * BATCH_SIZE}, NUM_STEPS, _added())
    remark = (
        f"counted (frozen weights get no gradient; two choices of 2 tokens): {counted:.3e}, {counted / value:.2f} x"
    )
    formula = f"3 x 11e9 x {NUM_STEPS} x {BATCH_SIZE} x {QUERY_TOKENS}"
    return Check("T-Few", "training FLOPs", formula, value, 2.7e16, "FLOPs", agrees, why or remark)


def _added() -> Added:
    """Return what T-Few's method adds to T0-11B."""
    method = registry.method(METHOD)
    added: Added = method.added(SHAPES["t0-11b"].sizes, method.Config())
    return added


def _training_flops() -> int:
    return rule.training_flops(T_FEW, QUERY_TOKENS, num_steps=NUM_STEPS, batch_size=BATCH_SIZE, is_encoder_decoder=True)


def _disk() -> list[Check]:
    parameters = _added().num_trained(0)
    raw, pickled = storage.tensor_bytes(parameters), pickled_bytes()
    candidates = {
        "the raw tensors in MiB": raw / MIB,
        "a pickled file in MB": pickled / 1e6,
        "a pickled file of these tensors, in MiB,": pickled / MIB,
    }
    agrees, why = explain(raw / 1e6, 4.2, candidates)
    tokens = storage.icl_bytes(NUM_SHOTS * SHOT_TOKENS)
    fits, _ = explain(tokens / 1e3, 16, {})
    return [
        Check("T-Few", "disk", f"{parameters:,} x 4 bytes", raw / 1e6, 4.2, "MB", agrees, why),
        Check("ICL", "disk", f"{NUM_SHOTS} x {SHOT_TOKENS} x 4 bytes", tokens / 1e3, 16, "kB", fits),
    ]


def pickled_bytes() -> int:
    """Write (IA)^3's vectors of T0-11B as the paper's code does, a float32 tensor under each full name, and measure."""
    import torch

    sizes = SHAPES["t0-11b"].sizes
    vectors = [(linear.place, linear.n) for linear in (*places.linears(sizes, "k"), *places.linears(sizes, "v"))]
    vectors += [(linear.place, linear.k) for linear in places.linears(sizes, "ff_out")]
    file = io.BytesIO()
    torch.save({_name(place): torch.zeros(length, 1) for place, length in vectors}, file)
    return file.tell()


def _name(place: Place) -> str:
    layer = {"self": 0, "cross": 1, "ff": 1 if place.stack == "encoder" else 2}[place.block]
    block = {"self": "SelfAttention", "cross": "EncDecAttention", "ff": "DenseReluDense"}[place.block]
    role = "wi_1" if place.block == "ff" else place.role
    return f"{place.stack}.block.{place.layer}.layer.{layer}.{block}.{role}.multi_lora_b"


def _shots() -> list[Check]:
    mean, median = statistics.fmean(SHOTS), statistics.median(SHOTS)
    remark = f"the text says median, which is {median:g}; {NUM_SHOTS} is the mean, {mean:.1f}"
    tokens = int(median) * SHOT_TOKENS + QUERY_TOKENS
    remark += f"; with {median:g} shots a prompt has {tokens:,} tokens, {100 * (tokens / _prompt() - 1):+.0f}%"
    return [Check("ICL", "shots", "median of 11 evaluations", median, NUM_SHOTS, "shots", median == NUM_SHOTS, remark)]


def _accuracies() -> list[Check]:
    checks = []
    for row, values in ACCURACIES.items():
        mean, printed = statistics.fmean(values), PRINTED_ACCURACIES[row]
        nine = statistics.fmean((*values[:8], statistics.fmean(values[8:])))
        candidates = {"the median": statistics.median(values), "the mean with ANLI's three as one": nine}
        agrees = math.isclose(round(mean, 1), printed)
        why = ""
        if not agrees:
            fitting = [what for what, other in candidates.items() if math.isclose(round(other, 1), printed)]
            candidate_means = ", ".join(f"{what} {other:.1f}" for what, other in candidates.items())
            why = " or ".join(fitting) or f"not reproduced; tried: {candidate_means}"
        checks.append(Check(row, "accuracy", "mean of Table 9", mean, printed, "%", agrees, why))
    return checks


def _break_evens() -> list[Check]:
    """The paper gives one: training costs as much as about 20 queries of GPT-3 175B."""
    training, tuned = _training_flops(), rule.inference_flops(T_FEW, QUERY_TOKENS, is_encoder_decoder=True)
    checks = []
    for row, size in GPT3.items():
        plain, cached = (
            rule.inference_flops(size, tokens, is_encoder_decoder=False) for tokens in (_prompt(), QUERY_TOKENS)
        )
        queries = rule.break_even_queries(training, plain, tuned)
        later = rule.break_even_queries(training, cached, tuned)
        assert queries is not None
        assert later is not None
        why = f"with the shots' keys and values cached a query costs {cached / tuned:.3g} x T-Few's: {later:,} queries"
        printed = 20 if "175B" in row else math.nan
        agrees = math.isnan(printed) or rounds_to(training / plain, printed, 1)
        formula = "training / (ICL - T-Few)"
        checks.append(Check(row, "break-even", formula, queries, printed, "queries", agrees, why))
    return checks
