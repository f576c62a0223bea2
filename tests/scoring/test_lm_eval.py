"""Scores and accuracies on a real model are those of lm-evaluation-harness, on the same rows, shots and wording."""

from pathlib import Path

import pytest

import peftbench
from peftbench import registry
from peftbench.models.gguf import header
from peftbench.models.gguf.tokenizer import tokenizer
from peftbench.spec.cell import TaskSpec
from peftbench.store.results import Store
from tests.scoring import harness

# lm-evaluation-harness and what it imports warn of much.
pytestmark = [pytest.mark.real_model, pytest.mark.filterwarnings("ignore")]
EXAMPLE = Path(__file__).parents[2] / "examples" / "customer-messages" / "task.toml"
# Choices of several tokens and unequal lengths; choices from the row; choices of one token.
TASKS = {str(EXAMPLE): 2, "lab-completion": 0, "lab-sense": 1}
NUM_ROWS = {0: 4, 4: 2}  # by shots: the harness runs all shots again for each choice


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'peftbench[benchmark]'")
    store = Store(tmp_path_factory.mktemp("results"))
    wanted = [(name, shots) for name in TASKS for shots in NUM_ROWS]
    cells = [
        harness.cell("smollm2-135m", TaskSpec(name=name), TASKS[name], shots, NUM_ROWS[shots]) for name, shots in wanted
    ]
    made = [outcome.record for outcome in peftbench.run(cells, store)]
    return {key: (record, store.read_scores(record.id)) for key, record in zip(wanted, made, strict=True)}


@pytest.fixture(scope="module")
def peer():
    pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'peftbench[benchmark]'")
    return harness.their_model(registry.SMOLLM2.path(), tokenizer(header.read(registry.SMOLLM2.path())))


@pytest.mark.parametrize("shots", NUM_ROWS)
@pytest.mark.parametrize("name", TASKS, ids=lambda name: Path(name).parent.name or name)
def test_sums_and_accuracies_are_those_of_lm_evaluation_harness(name, shots, records, peer):
    record, frame = records[name, shots]
    ours, theirs = harness.ours(record, frame), harness.theirs(peer, TaskSpec(name=name), record, frame)
    assert len(ours.log_probs) == NUM_ROWS[shots]
    assert ours.apart(theirs) < 1e-3
    assert ours.agrees(theirs), (ours, theirs)
