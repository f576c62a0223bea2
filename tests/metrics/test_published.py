"""Published outputs have their published scores, to the digit; METEOR's and TER's take minutes: docs/metrics.md."""

from functools import cache

import numpy as np
import pytest

from peftbench import registry
from tests.metrics.needs import needs
from tests.real import read

PUBLISHED = {
    ("e2e_tgen", "bleu"): "65.93",
    ("e2e_tgen", "nist"): "8.6094",
    ("e2e_tgen", "rouge_l"): "68.50",
    ("e2e_tgen", "cider"): "2.2338",
    ("dart_bart_large", "multi_bleu"): "48.56",
}
NAMES = [pytest.param(*names, marks=needs(names[1])) for names in PUBLISHED]


@cache
def published(name):
    rows = read(f"nlg_golden/{name}.jsonl")
    return [row["output"] for row in rows], [row["references"] for row in rows]


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "metric_name"), NAMES)
def test_a_published_score_comes_out(name, metric_name):
    metric, score = registry.text_metric(metric_name), PUBLISHED[name, metric_name]
    digits = len(score.partition(".")[2])
    counted = metric.statistics_of(*published(name))
    assert f"{metric.scale * float(metric.value(counted.sum(0))):.{digits}f}" == score
    draws = metric.value(np.ones((1000, len(counted))) @ counted)  # what an interval takes
    assert draws == pytest.approx(np.full(1000, float(score) / metric.scale), rel=1e-3)
