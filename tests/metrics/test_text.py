"""Every metric of written answers: hand arithmetic, what weights must do, and what none of them takes."""

import importlib
import re

import numpy as np
import pytest

from peftbench import registry
from peftbench.errors import PeftbenchError, TaskError
from peftbench.metrics import meteor
from peftbench.metrics.base import Scale
from peftbench.metrics.squad import normalized
from tests.metrics.needs import needs
from tests.test_registry import loaded_by

OUTPUTS = ["The Eagle is a pub by the river.", "cheap food", ""]
REFERENCES = [["The Eagle is a pub near the river.", "A pub by the river, the Eagle."], ["Cheap food!", ""], ["a bar"]]
NAMES = [pytest.param(name, marks=needs(name)) for name in registry.TEXT_METRICS]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """METEOR's table of paraphrases takes six seconds to read."""
    monkeypatch.setattr(meteor, "MODULES", "exact stem")


def test_values_by_hand():
    """Normalised: "eagle is pub by river" for "eagle is pub near river" or "pub by river eagle"; a hit; nothing."""
    assert registry.text_metric("exact_match").of(OUTPUTS, REFERENCES) == pytest.approx(1 / 3)
    assert registry.text_metric("token_f1").of(OUTPUTS, REFERENCES) == pytest.approx((2 * 4 / (5 + 4) + 1 + 0) / 3)
    assert registry.text_metric("contains").of(OUTPUTS, REFERENCES) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The U.S., twice", "us twice"),
        ("an  apple\ta\nday", "apple day"),
        ("Anna's theatre", "annas theatre"),
        ("well-known", "wellknown"),
        ("a the AN", ""),
        ("café €5", "café €5"),
    ],
)
def test_answers_are_normalised_as_squads(text, words):
    assert normalized(text) == words


@pytest.mark.parametrize(
    ("output", "reference", "value"),
    [
        ("It is in the river Thames, I think", "River Thames", 1),
        ("riverside", "river", 0),
        ("Thames river", "river Thames", 0),
        ("", "river", 0),
        ("river", "the", 0),
    ],
)
def test_an_answer_is_contained_as_whole_words_in_their_order(output, reference, value):
    assert registry.text_metric("contains").of([output], [[reference]]) == value


def test_words_are_shared_as_often_as_both_have_them():
    assert registry.text_metric("token_f1").of(["red red red bus"], [["red bus red"]]) == pytest.approx(2 * 3 / 7)


def test_an_answer_of_articles_alone_is_met_by_another_one():
    assert registry.text_metric("token_f1").of(["A"], [["The"]]) == 1
    assert registry.text_metric("token_f1").of(["bus"], [["The"]]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_the_times_that_an_example_stands_in_a_sample(name):
    metric = registry.text_metric(name)
    counted = metric.statistics_of(OUTPUTS * 2, REFERENCES * 2)
    weights = np.array([[1, 0, 3, 0, 2, 0], [0, 1, 0, 0, 0, 1], [2, 2, 2, 2, 2, 2]])
    assert metric.value(counted[:3].sum(0)) == pytest.approx(metric.value(weights @ counted)[2])
    for sample, value in zip(weights, metric.value(weights @ counted), strict=True):
        if metric.needs_all:  # a sample by itself would have weights of its own
            continue
        rows = [row % 3 for row, times in enumerate(sample) for _ in range(times)]
        expected = metric.of([OUTPUTS[row] for row in rows], [REFERENCES[row] for row in rows])
        assert value == pytest.approx(expected)


@pytest.mark.parametrize("name", [name for name in NAMES if name.values != ("multi_bleu",)])
def test_a_blank_reference_is_none(name):
    metric, padded = registry.text_metric(name), [["", *texts, " "] for texts in REFERENCES]
    assert (metric.statistics_of(OUTPUTS, padded) == metric.statistics_of(OUTPUTS, REFERENCES)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_is_its_own_best_answer_and_a_blank_output_its_worst(name):
    metric = registry.text_metric(name)
    references = [["the river runs by a small pub", ""], ["nobody eats here before five in the evening"]]
    right, wrong = [texts[0] for texts in references], ["", " "]
    assert isinstance(metric, Scale)
    assert metric.name == name
    assert (metric.of(right, references) > metric.of(wrong, references)) == metric.higher_is_better
    assert metric.of(wrong, references) == (metric.lowest if metric.higher_is_better else 1)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_written_has_a_value(name):
    """Each by itself, too: a metric is of one example as of many."""
    metric = registry.text_metric(name)
    outputs = ["\ud800 \x00", "|||", "...", "\u2028\x85", "a\r\nb\x1cc", "{&quot;\u0130\u0307}", "the " * 300]
    counted = metric.statistics_of(outputs, [[text, f"{text} x"] for text in reversed(outputs)])
    for values in (metric.value(counted), metric.value(counted.sum(0))):
        assert np.isfinite(values).all()
        assert (values >= metric.lowest).all()


@pytest.mark.parametrize("name", registry.TEXT_METRICS)
def test_an_output_without_references_is_refused_in_one_line(name):
    metric = registry.text_metric(name)
    with pytest.raises(TaskError, match=re.escape(f"metric '{name}' needs a reference for each output; 2 have none")):
        metric.of(["a", "b", "c"], [["a"], [], [" ", ""]])
    with pytest.raises(TaskError, match=re.escape("and found 2 and 1")):
        metric.of(["a", "b"], [["a"]])
    with pytest.raises(TaskError, match=re.escape("and found 0 and 0")):
        metric.of([], [])


def test_what_a_metric_needs_is_missed_by_name(monkeypatch):
    module = importlib.import_module(registry.TEXT_METRICS["contains"])
    needing = type(module.METRIC)(**vars(module.METRIC) | {"packages": ("no-such-package",)})
    with pytest.raises(PeftbenchError, match="metric 'contains' needs the package no-such-package") as caught:
        needing.require()
    assert caught.value.hint == "pip install 'peftbench[text]'"
    running = type(module.METRIC)(**vars(module.METRIC) | {"programs": ("no-such-program",)})
    with pytest.raises(PeftbenchError, match="metric 'contains' runs the program no-such-program, which is not"):
        running.statistics_of(["a"], [["a"]])


@needs("rouge_l")
def test_looking_a_metric_up_imports_no_library():
    libraries = {"sacrebleu", "rouge_score", "nltk", "pycocoevalcap", "torch", "pandas"}
    code = "from peftbench import registry\nfor name in registry.TEXT_METRICS: registry.text_metric(name)"
    assert not libraries & loaded_by(code)
    code = "from peftbench import registry\nregistry.text_metric('rouge_l').require()"
    assert not libraries & loaded_by(code)


def test_a_metric_of_text_that_is_none_is_met_with_the_nearest_one():
    with pytest.raises(TaskError, match="unknown metric of text 'exactmatch'") as caught:
        registry.text_metric("exactmatch")
    assert "did you mean 'exact_match'?" in str(caught.value.hint)
