r"""NIST: n-grams that outputs share with references, weighed by how much their last word says, for n = 1 to 5.

    NIST = bp sum_n (sum of info(g) over matches g of n words / n-grams of outputs)
    info(w_1 ... w_n) = log2(count(w_1 ... w_(n-1)) / count(w_1 ... w_n)),  counts: in all references of all examples
    bp   = exp(b log(min(1, c / r))^2),  bp = 1/2 at c = 2/3 r
    c: tokens of outputs,   r: tokens of references / mean number of an example's references

Matches are as BLEU's: at most as often as one reference has them. Tokens are those of `bleu`. Resampled, info stays
that of all rows. The published 8.6094 of TGen on E2E is this number.

Differs: r is mteval-v13a.pl's, by which scores are published. Ports of it to Python sum the mean length of each
example's references instead, and have 8.5923 there; nltk's `corpus_nist` is another formula, and has 7.13.

Paper: Doddington 2002.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from peftbench.metrics.base import Array
from peftbench.metrics.text import Outputs, References, TextMetric, present

NUM_ORDERS = 5
_STEEPNESS = np.log(0.5) / np.log(1.5) ** 2  # b
Ngrams = Counter[tuple[str, ...]]


def statistics(outputs: Outputs, references: References) -> Array:
    """Count (examples, 4 + 5 + 5): tokens of output and references, references, a one; info and n-grams by order."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenizer = Tokenizer13a()
    counts = [[_ngrams(tokenizer(text.lower())) for text in texts] for texts in present(references)]
    info = _information(count for texts in counts for count in texts)
    rows = zip(outputs, counts, strict=True)
    return np.array([_of_example(_ngrams(tokenizer(output.lower())), texts, info) for output, texts in rows])


def _ngrams(text: str) -> Ngrams:
    words = text.split()
    starts = ((order, first) for order in range(1, NUM_ORDERS + 1) for first in range(len(words) - order + 1))
    return Counter(tuple(words[first : first + order]) for order, first in starts)


def _information(references: Iterable[Ngrams]) -> dict[tuple[str, ...], float]:
    total: Ngrams = Counter()
    for count in references:
        total.update(count)
    total[()] = _num_words(total)
    return {ngram: float(np.log2(total[ngram[:-1]] / number)) for ngram, number in total.items() if ngram}


def _of_example(output: Ngrams, references: list[Ngrams], info: dict[tuple[str, ...], float]) -> Array:
    most: Ngrams = Counter()
    for count in references:
        most |= count
    gained, ngrams = np.zeros(NUM_ORDERS), np.zeros(NUM_ORDERS)
    for ngram, number in output.items():
        ngrams[len(ngram) - 1] += number
        gained[len(ngram) - 1] += min(number, most[ngram]) * info.get(ngram, 0)
    return np.array([ngrams[0], sum(map(_num_words, references)), len(references), 1, *gained, *ngrams])


def _num_words(count: Ngrams) -> int:
    return sum(number for ngram, number in count.items() if len(ngram) == 1)


def value(sums: Array) -> Array:
    """Compute NIST, at least 0, from (..., 14) sums."""
    output_tokens, reference_tokens, num_references, num_examples = np.moveaxis(sums[..., :4], -1, 0)
    gained, ngrams = sums[..., 4 : 4 + NUM_ORDERS], sums[..., 4 + NUM_ORDERS :]  # (..., orders)
    means = np.divide(gained, ngrams, out=np.zeros_like(gained), where=ngrams > 0)
    ratio = output_tokens * num_references / (reference_tokens * num_examples)
    # Without a token of output there is no match either, and the score is 0 whatever this ratio is.
    score: Array = means.sum(-1) * np.exp(_STEEPNESS * np.log(np.clip(ratio, 1e-9, 1)) ** 2)
    return score


METRIC = TextMetric(
    "nist",
    "NIST",
    "bits",
    True,
    statistics,
    value,
    scale=1.0,
    decimals=2,
    needs_all="an n-gram's information is counted in the references of all test rows",
    packages=("sacrebleu",),
)
