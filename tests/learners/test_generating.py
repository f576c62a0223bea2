"""What each way of learning writes: after its shots, or with what was tuned; what chooses among choices is refused."""

import pytest

from peftbench.errors import MethodError
from peftbench.learners import icl
from peftbench.learners.icl import Icl
from peftbench.models.load import load
from peftbench.scoring.generate import generate
from peftbench.scoring.layout import Shot
from peftbench.spec.cell import IclOptions, Scoring, TaskSpec
from peftbench.spec.decoding import Decoding
from peftbench.tasks.load import load as load_task

SCORING = Scoring(end="none")
DECODING = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def backbone():
    return load("mini-gpt", device="cpu")


@pytest.fixture(scope="module")
def task():
    return load_task(TaskSpec(name="lab-hazard"))


def predictor(backbone, task, options=None, **more):
    template, options = task.templates[0], options or IclOptions()
    learner = Icl((template,), task.train[:3], options, **more)
    prompt = icl.learn(backbone, template, learner, SCORING)
    icl.fit([prompt], [queries(task)])
    return prompt


def queries(task):
    return [task.templates[0].render(row) for row in task.test[:5]]


def test_a_prompt_writes_after_its_shots(backbone, task):
    shots = [task.templates[0].render(row) for row in task.train[:3]]
    expected = generate(
        backbone, queries(task), SCORING, DECODING, [Shot(shot.input, shot.target, shot.joint) for shot in shots]
    )
    found = predictor(backbone, task).generate(queries(task), DECODING)
    assert found == expected
    assert all(part.text for part in found)


def test_shots_as_a_prefix_write_what_shots_in_the_prompt_write(backbone, task):
    told = predictor(backbone, task).generate(queries(task), DECODING)
    saved = predictor(backbone, task, IclOptions(as_prefix=True)).generate(queries(task), DECODING)
    assert [part.text for part in saved] == [part.text for part in told]
    assert [part.context_tokens for part in saved] == [part.context_tokens for part in told]


def test_each_query_may_have_shots_of_its_own(backbone, task):
    pytest.importorskip("bm25s")
    prompt = predictor(backbone, task, IclOptions(select="bm25"), num_chosen=2)
    found = prompt.generate(queries(task), DECODING)
    for query, output in zip(queries(task), found, strict=True):
        (alone,) = generate(backbone, [query], SCORING, DECODING, prompt.shown(query))
        assert output.text == alone.text


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (IclOptions(calibrate=True), "calibration divides the probabilities"),
        (IclOptions(ensemble="mean"), "an ensemble joins what its prompts say"),
        (IclOptions(attention="block", block_shots=2), "attention = block"),
    ],
)
def test_what_chooses_among_choices_writes_no_text(options, fault, backbone, task):
    with pytest.raises(MethodError, match=fault):
        predictor(backbone, task, options).generate(queries(task), DECODING)
