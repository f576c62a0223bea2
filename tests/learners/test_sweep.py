"""The sweep of the learning rate: what it looks at, how it chooses, what it counts."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from peftbench.errors import RunError
from peftbench.learners import sweep, tune
from peftbench.scoring.ranking import ChoiceScore
from peftbench.scoring.work import TrainingWork
from peftbench.spec.cell import Training
from peftbench.store.record import SweepPoint
from tests.learners.toy import RAGGED, ROWS, TEMPLATE

EXAMPLES = [[template.render(row) for template in (TEMPLATE, RAGGED)] for row in ROWS[:5]]
TRAINING = Training(lr=3e-3, num_steps=7)


class Fake:
    """Stands for `tune.learn`: gives each rate the log-probabilities that it was told, and notes what it was shown."""

    def __init__(self, log_probs, broken=()):
        self.log_probs, self.broken, self.seen = log_probs, broken, []

    def learn(self, tuning, backbone, scoring, progress):
        lr = tuning.training.lr
        if lr in self.broken:
            ran = SimpleNamespace(log=[None] * 2, work=TrainingWork())
            raise tune.TrainingError(RunError(f"training broke at {lr:g}"), ran)
        self.seen.append((lr, tuning.examples, queries := []))

        def score(found):
            queries.extend(found)
            table = self.log_probs.get(lr, [-1.0, -2.0, -3.0])
            choices = [[ChoiceScore(table[i], i + 1, 1, 1) for i in range(len(one.choices))] for one in found]
            return SimpleNamespace(choices=choices, lengths=[], work=SimpleNamespace(passes=[]))

        return SimpleNamespace(score=score, log=[None] * 7, work=TrainingWork())


def swept(monkeypatch, fake):
    monkeypatch.setattr(tune, "learn", fake.learn)
    backbone = SimpleNamespace(detach_all=lambda: None)
    return sweep.sweep(tune.Tuning("ia3", None, TRAINING, EXAMPLES), backbone, None)


def test_rates_are_half_powers_of_ten_around_the_resolved_one():
    assert sweep.rates(3e-3) == [3e-4, 9.5e-4, 3e-3, 9.5e-3, 3e-2]


def test_each_shot_is_held_out_once_for_each_rate_and_never_trained_on_meanwhile(monkeypatch):
    fake = Fake({})
    swept(monkeypatch, fake)
    for rate in sweep.rates(TRAINING.lr):
        mine = [(rest, queries) for lr, rest, queries in fake.seen if lr == rate]
        assert sorted(q.row_id for _, queries in mine for q in queries) == sorted(2 * [row.id for row in ROWS[:5]])
        for rest, queries in mine:
            trained = {example.row_id for templates in rest for example in templates}
            assert trained.isdisjoint(query.row_id for query in queries)
            assert len(trained) + len({query.row_id for query in queries}) == 5
    assert len(fake.seen) == sweep.NUM_RATES * sweep.NUM_FOLDS


def test_accuracy_and_loss_are_those_of_the_length_normalised_choices(monkeypatch):
    table = [-1.5, -1.0, -6.0]
    trial = swept(monkeypatch, Fake({3e-3: table})).trials[2]
    flat = [example for templates in EXAMPLES for example in templates]
    logits = [torch.tensor(table)[: len(one.choices)] / torch.arange(1, len(one.choices) + 1) for one in flat]
    losses = [functional.cross_entropy(some, torch.tensor(one.label)) for some, one in zip(logits, flat, strict=True)]
    right = [int(some.argmax()) == one.label for some, one in zip(logits, flat, strict=True)]
    assert trial.accuracy == pytest.approx(sum(right) / len(right))
    assert trial.loss == pytest.approx(float(torch.stack(losses).mean()))


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([(1.0, 0.5, 0.1), (2.0, 0.6, 0.9)], 2.0),
        ([(1.0, 0.5, 0.8), (2.0, 0.5, 0.7)], 2.0),
        ([(1.0, 0.5, 0.7), (2.0, 0.5, 0.7)], 1.0),
    ],
)
def test_accuracy_decides_then_the_loss_then_the_lower_rate(trials, best):
    some = [SweepPoint(lr=lr, accuracy=accuracy, loss=loss) for lr, accuracy, loss in trials]
    assert sweep.Swept(trials=some).lr == sweep.Swept(trials=some[::-1]).lr == best


def test_a_rate_that_broke_is_told_and_not_chosen(monkeypatch):
    found = swept(monkeypatch, Fake({}, broken={3e-2, 9.5e-3}))
    assert [trial.reason for trial in found.trials[:3]] == [None] * 3
    assert [trial.reason for trial in found.trials[3:]] == ["training broke at 0.0095", "training broke at 0.03"]
    assert found.trials[-1].accuracy is None
    assert found.lr == 3e-4
    assert found.num_steps == 3 * sweep.NUM_FOLDS * 7 + 2 * 2


def test_without_any_rate_that_works_it_is_an_error(monkeypatch):
    found = swept(monkeypatch, Fake({}, broken=set(sweep.rates(TRAINING.lr))))
    with pytest.raises(RunError, match="with every rate"):
        _ = found.lr
