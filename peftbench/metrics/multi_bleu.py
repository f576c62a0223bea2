r"""BLEU as multi-bleu.perl has it, for WebNLG and DART: words and signs in lower case; missing references are empty.

The formula is that of `bleu`, with three differences:

- Tokens are runs of letters and digits, and every other sign by itself, as the authors of WebNLG's and LoRA's scores
  write files before they are scored. Files that are tokenised so already, as DART's, stay as they are.
- References stand in files of equal length, in which an example's missing ones are empty lines. Such a line is a
  reference of no tokens: where it is nearer in length to an output than any other one, r grows by nothing. All
  examples have as many references here as the one with the most has. It is worth a point of BLEU on DART: 48.56 with
  them, 47.59 without.
- Without a match in one of the orders BLEU is 0: nothing is smoothed.

The published 48.56 of BART-large on DART is this number.

Paper: 2007.02871 (DART); 2106.09685, appendix (LoRA's WebNLG and DART).
"""

import re
from functools import partial

from peftbench.metrics.base import Array
from peftbench.metrics.bleu import PACKAGE, counted, value
from peftbench.metrics.text import Outputs, References, TextMetric


def tokenized(text: str) -> str:
    """Write a text in lower case, every sign but letters and digits by itself: "It's A_1." -> "it ' s a_1 ."."""
    return " ".join(re.sub(r"(\W)", r" \1 ", text.lower()).split())


def statistics(outputs: Outputs, references: References) -> Array:
    """Count tokens and n-grams: (examples, 10), as `bleu.counted`."""
    from sacrebleu.metrics import BLEU

    most = max(map(len, references))
    padded = [[*map(tokenized, texts), *[""] * (most - len(texts))] for texts in references]
    sentence_score = BLEU(tokenize="none", effective_order=True).sentence_score
    return counted(sentence_score, [tokenized(output) for output in outputs], padded)


METRIC = TextMetric(
    "multi_bleu",
    "multi-BLEU",
    "points",
    True,
    statistics,
    partial(value, is_smoothed=False),
    scale=1.0,
    packages=(PACKAGE,),
)
