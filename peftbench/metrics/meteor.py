r"""METEOR 1.5: words of outputs and references aligned by form, stem, synonym and paraphrase, in as few chunks as can.

    METEOR = F (1 - 0.6 (chunks / matched words)^0.2),   F = P R / (0.85 P + 0.15 R)
    P, R   = matches / words, of the output, of the reference: a match counts 1, 0.6, 0.8 or 0.6 by how it was made,
             and content words 0.75, function words 0.25

All are sums over examples; matched words are the mean of both sides. Of several references an example's best one
counts; where it equals the output word by word its chunk is not counted. Aligned by the authors' program,
meteor-1.5.jar, which comes with pycocoevalcap and runs on Java with up to 2 GB of memory; what is made of its counts
here is what it makes of them itself. Words are `ptb.tokens`. The published 44.83 of TGen on E2E is this number.

Differs: nltk's METEOR is of an older version with other weights, and needs WordNet's files; it is not used.

Paper: Denkowski and Lavie 2014 (W14-3348).
"""

import importlib.util
import subprocess
from pathlib import Path

import numpy as np

from peftbench.errors import RunError
from peftbench.metrics import ptb
from peftbench.metrics.base import Array
from peftbench.metrics.text import Outputs, References, TextMetric, present

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
MODULES = "exact stem synonym paraphrase"
"""How words are aligned, in this order."""
MATCH = (1.0, 0.6, 0.8, 0.6)
"""What a match of each module counts."""
SEPARATOR = " ||| "
LENGTHS, CHUNKS, MATCHED = slice(0, 2), 20, slice(21, 23)
"""Where the program writes words of output and reference, chunks, and matched words of output and reference."""


def statistics(outputs: Outputs, references: References) -> Array:
    """Align each output with its best reference: (examples, 23), as meteor-1.5.jar counts.

    Raises:
        RunError: The program fails.
    """
    # What separates texts on a line must stand in none of them.
    texts = [[text.replace(SEPARATOR.strip(), " ") for text in row] for row in present(references)]
    theirs, ours = ptb.captions([output.replace(SEPARATOR.strip(), " ") for output in outputs], texts)
    lines = [SEPARATOR.join(["SCORE", *theirs[row], *ours[row]]) for row in ours]
    text = "\n".join(lines) + "\n"
    done = subprocess.run(command(), input=text, capture_output=True, encoding="utf-8", errors="replace")
    answers = done.stdout.splitlines()
    if done.returncode or len(answers) != len(lines):
        reason = (done.stderr.strip().splitlines() or ["it does not say why"])[0]
        raise RunError(f"meteor-1.5.jar answered {len(answers)} of {len(lines)} examples: {reason}")
    counts = np.array([[float(number) for number in answer.split()] for answer in answers])
    is_whole = (counts[:, MATCHED] == counts[:, LENGTHS]).all(-1) & (counts[:, CHUNKS] == 1)
    counts[is_whole, CHUNKS] = 0
    return counts


def command() -> list[str]:
    """Write the command that answers lines of SCORE, output and references with counts, and EVAL with a value."""
    spec = importlib.util.find_spec("pycocoevalcap")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    jar = Path(folders[0], "meteor", "meteor-1.5.jar")
    options = ["-stdio", "-l", "en", "-norm", "-m", MODULES]
    return ["java", "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", str(jar), "-", "-", *options]


def value(sums: Array) -> Array:
    """Compute METEOR, 0 to 1, from (..., 23) sums."""
    words, of_function = sums[..., LENGTHS], sums[..., 2:4]  # (..., [output, reference])
    matches = sums[..., 4:CHUNKS].reshape(*sums.shape[:-1], len(MATCH), 2, 2)  # modules, content or function, side
    content, function = np.moveaxis(np.einsum("...mks,m->...ks", matches, MATCH), -2, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (DELTA * content + (1 - DELTA) * function) / (
            DELTA * (words - of_function) + (1 - DELTA) * of_function
        )
        precision, recall = shares[..., 0], shares[..., 1]
        f = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
        fragmentation = sums[..., CHUNKS] / sums[..., MATCHED].mean(-1)
        score: Array = np.nan_to_num(f * (1 - GAMMA * fragmentation**BETA))
    return score


METRIC = TextMetric("meteor", "METEOR", "%", True, statistics, value, packages=ptb.PACKAGES, programs=("java",))
