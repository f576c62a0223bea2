import gc
import weakref
from dataclasses import replace

import pytest

from peftbench.learners import icl, scored
from peftbench.spec.cell import IclOptions
from peftbench.tasks.task import Row
from tests.learners.toy import ROWS, TEMPLATE, scoring
from tests.tiny import tiny_backbone

QUERIES = [TEMPLATE.render(row) for row in ROWS[4:]]


@pytest.fixture
def runs(monkeypatch):
    """How many prompts each call of the scorer was for."""
    counts = []

    def counting(backbone, examples, *rest, **more):
        counts.append(len(examples))
        return score(backbone, examples, *rest, **more)

    score = scored.score
    monkeypatch.setattr(scored, "score", counting)
    return counts


def prompt(backbone, num_shots=2, **options):
    learner = icl.Icl((TEMPLATE,), tuple(ROWS[:num_shots]), IclOptions(**options))
    return icl.learn(backbone, TEMPLATE, learner, scoring(backbone))


def test_calibrating_runs_the_prompts_without_content_alone(runs):
    backbone, done = tiny_backbone("gpt2"), []
    plain = prompt(backbone).score(QUERIES)
    calibrated = prompt(backbone, calibrate=True).score(QUERIES, done.append)
    assert runs == [len(QUERIES), 2]  # "N/A" and "[MASK]"
    assert sum(done) == len(QUERIES)
    anew = prompt(tiny_backbone("gpt2"), calibrate=True).score(QUERIES)
    assert calibrated.choices == anew.choices
    assert (calibrated.lengths, calibrated.once, calibrated.work) == (anew.lengths, anew.once, anew.work)
    assert calibrated.seconds > plain.seconds > 0


def test_other_shots_queries_models_or_rules_are_run(runs):
    backbone = tiny_backbone("gpt2")
    prompt(backbone).score(QUERIES)
    prompt(backbone, num_shots=3).score(QUERIES)
    prompt(backbone).score(QUERIES[1:])
    prompt(backbone, order=1).score(QUERIES)
    prompt(tiny_backbone("gpt2")).score(QUERIES)
    assert len(runs) == 5


def test_the_oldest_are_forgotten(runs, monkeypatch):
    monkeypatch.setattr(scored, "MAX_CHOICES", 2 * len(QUERIES) * len(QUERIES[0].choices))
    backbone = tiny_backbone("gpt2")
    for num_shots in (0, 1, 2, 1, 0):
        prompt(backbone, num_shots).score(QUERIES)
    assert len(runs) == 4


@pytest.mark.parametrize("part", ["input", "choices", "joint"])
def test_whatever_a_model_reads_of_a_query_makes_it_another_one(runs, part):
    backbone, first = tiny_backbone("gpt2"), QUERIES[0]
    changed = {"input": first.input + "!", "choices": first.choices[::-1], "joint": "  "}
    predictor = prompt(backbone)
    predictor.score([first])
    predictor.score([replace(first, **{part: changed[part]})])
    assert len(runs) == 2


def test_no_row_is_held_on_to(runs):
    backbone, row = tiny_backbone("gpt2"), Row(1, {"text": "seen once"}, 0)
    example = TEMPLATE.render(row)
    reference = weakref.ref(example)
    prompt(backbone).score([example])
    del example, row
    gc.collect()
    assert reference() is None
