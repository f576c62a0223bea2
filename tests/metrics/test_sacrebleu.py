"""BLEU, chrF and TER: hand arithmetic on three sentences, and sacrebleu's own values of resampled rows."""

import math
import random

import numpy as np
import pytest

from peftbench import registry
from peftbench.metrics.bleu import value
from tests.metrics.test_text import OUTPUTS, REFERENCES

sacrebleu = pytest.importorskip("sacrebleu.metrics", reason="sacrebleu is not installed")
WORDS = ["the", "a", "pub", "river", "eagle", "near", "by", "cheap", "food", ",", ".", "is", "family-friendly", "Thai"]


def rows(count=40):
    """Outputs that repeat most words of a reference, half of them shuffled; an example has one to three references."""
    rng = random.Random(5)
    references = [[" ".join(rng.choices(WORDS, k=rng.randint(4, 14))) for _ in range(rng.randint(1, 3))]
                  for _ in range(count)]  # fmt: skip
    kept = [[word for word in rng.choice(texts).split() if rng.random() < 0.8] for texts in references]
    outputs = [rng.sample(words, len(words)) if row % 2 else words for row, words in enumerate(kept)]
    return [" ".join(words) for words in outputs], references


def theirs(name, outputs, references):
    """The value by sacrebleu of all rows at once."""
    missing = "" if name == "multi_bleu" else None
    most = max(map(len, references))
    streams = [[texts[number] if number < len(texts) else missing for texts in references] for number in range(most)]
    if name == "multi_bleu":
        split = [
            [" ".join(text.lower().replace("-", " - ").split()) for text in lines] for lines in [outputs, *streams]
        ]
        return sacrebleu.BLEU(tokenize="none", smooth_method="none", force=True).corpus_score(split[0], split[1:]).score
    if name == "ter":
        return sacrebleu.TER().corpus_score(outputs, streams).score / 100
    metric = sacrebleu.BLEU(lowercase=True) if name == "bleu" else sacrebleu.CHRF()
    return metric.corpus_score(outputs, streams).score


@pytest.mark.parametrize("name", ["bleu", "multi_bleu", "chrf", "ter"])
def test_a_sample_has_sacrebleus_value_of_the_rows_that_it_holds(name):
    metric, (outputs, references) = registry.text_metric(name), rows()
    weights = np.random.default_rng(0).multinomial(len(outputs), [1 / len(outputs)] * len(outputs), size=5)
    found = metric.value(weights @ metric.statistics_of(outputs, references))
    for sample, value_of_sample in zip(weights, found, strict=True):
        drawn = [row for row, times in enumerate(sample) for _ in range(times)]
        expected = theirs(name, [outputs[row] for row in drawn], [references[row] for row in drawn])
        assert value_of_sample == pytest.approx(expected)


def test_bleu_by_hand():
    """13a: "the eagle is a pub by the river .", nine tokens as each of its references; two for three; none for two."""
    precision = (11 / 11 * 9 / 9 * 7 / 7 * 4 / 6) ** (1 / 4)
    assert registry.text_metric("bleu").of(OUTPUTS, REFERENCES) == pytest.approx(
        100 * precision * math.exp(1 - 14 / 11)
    )


def test_an_empty_reference_lowers_what_multi_bleu_asks_of_the_length():
    """Two tokens are nearer to three than to none; no token is nearest to none, and so r is 9 + 3 + 0."""
    metric = registry.text_metric("multi_bleu")
    expected = 100 * (4 / 6) ** (1 / 4) * math.exp(1 - 12 / 11)
    assert metric.of(OUTPUTS, REFERENCES) == pytest.approx(expected)
    assert metric.of(OUTPUTS, [texts[:1] for texts in REFERENCES]) < expected


def test_without_a_match_of_four_words_multi_bleu_is_0_and_bleu_is_not():
    outputs, references = ["the pub by the sea"], [["the pub by a river"]]
    assert registry.text_metric("multi_bleu").of(outputs, references) == 0
    assert registry.text_metric("bleu").of(outputs, references) > 20


def test_multi_bleu_splits_signs_off_and_bleu_keeps_a_hyphen():
    assert registry.text_metric("multi_bleu").of(["a b well-known c"], [["A b well - known c"]]) == pytest.approx(100)
    assert registry.text_metric("bleu").of(["a b well-known c"], [["A b well - known c"]]) < 50


@pytest.mark.parametrize(
    ("matches", "totals", "lengths"),
    [
        ([5, 3, 0, 0], [6, 5, 4, 3], [6, 6]),
        ([5, 0, 2, 0], [6, 5, 4, 3], [6, 9]),
        ([0, 0, 0, 0], [6, 5, 4, 3], [6, 9]),
        ([2, 1, 0, 0], [2, 1, 0, 0], [2, 2]),
        ([0, 0, 0, 0], [0, 0, 0, 0], [0, 4]),
    ],
)
@pytest.mark.parametrize("method", ["exp", "none"])
def test_orders_without_a_match_are_smoothed_as_in_sacrebleu(matches, totals, lengths, method):
    expected = sacrebleu.BLEU.compute_bleu(list(matches), list(totals), *lengths, smooth_method=method).score
    found = value(np.array([*lengths, *matches, *totals], dtype=float), is_smoothed=method == "exp")
    assert found == pytest.approx(expected)


def test_chrf_by_hand():
    """Of "ab" and "abc" matches are 2 and 1; a run of three is in the reference alone, and its order left out."""
    precision, recall = 1, (2 / 3 + 1 / 2) / 2
    f = 5 * precision * recall / (4 * precision + recall)
    assert registry.text_metric("chrf").of(["a b"], [["abc"]]) == pytest.approx(100 * f)
    assert registry.text_metric("chrf").of(["AB"], [["ab"]]) == 0


def test_ter_by_hand():
    """One word of eight differs, of the other reference more; one of two; two are missing. Lengths 7.5, 2 and 2."""
    assert registry.text_metric("ter").of(OUTPUTS, REFERENCES) == pytest.approx((1 + 1 + 2) / (7.5 + 2 + 2))


def test_a_shift_of_several_words_is_one_edit():
    assert registry.text_metric("ter").of(["by the river is a pub"], [["is a pub by the river"]]) == pytest.approx(
        1 / 6
    )


def test_a_reference_of_the_same_words_need_not_be_the_nearest():
    """Three shifts for the same words in another order; a word and one more for the other reference."""
    metric, output = registry.text_metric("ter"), ["a b c d"]
    assert metric.of(output, [["d c b a"]]) == pytest.approx(3 / 4)
    assert metric.of(output, [["d c b a", "a b c x y"]]) == pytest.approx(2 / 4.5)
