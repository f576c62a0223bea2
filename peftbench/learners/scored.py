"""Scores of prompts that this process has scored: calibrating takes the plain prompt's, and runs it no more."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from peftbench.models.backbone import Backbone
from peftbench.scoring.layout import Shot
from peftbench.scoring.score import Scores, score
from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Example

MAX_CHOICES = 200_000
"""Of one model's remembered scores, some 40 MB; the oldest are forgotten first."""


class _Memory:
    """The scores of one model, by what was scored."""

    def __init__(self) -> None:
        self._scores: OrderedDict[bytes, Scores] = OrderedDict()
        self._num_choices = 0

    def get(self, key: bytes) -> Scores | None:
        return self._scores.get(key)

    def put(self, key: bytes, scores: Scores) -> None:
        self._scores[key] = scores
        self._num_choices += _num_choices(scores)
        while self._num_choices > MAX_CHOICES:
            _, oldest = self._scores.popitem(last=False)
            self._num_choices -= _num_choices(oldest)


_MEMORIES: WeakKeyDictionary[Backbone, _Memory] = WeakKeyDictionary()


def score_once(
    backbone: Backbone,
    examples: Sequence[Example],
    scoring: Scoring,
    shots: Sequence[Shot],
    progress: Callable[[int], None] | None = None,
    block_shots: int | None = None,
) -> Scores:
    """Score examples after shots, or take the scores that this model, as it was loaded, gave to the same prompts.

    What is taken says what it took when it was run, `seconds` and work included: costs stay those of each way of
    learning by itself.

    Args:
        backbone: With nothing attached.
        examples: Inputs with their answer choices.
        scoring: How inputs are cut and answers end.
        shots: What stands before each input.
        progress: Called with the number of examples that were just finished.
        block_shots: As `scoring.score.score`.

    Raises:
        ModelError: As `scoring.score.score`.
        RunError: Likewise.
    """
    memory = _MEMORIES.setdefault(backbone, _Memory())
    key = _digest(examples, scoring, shots, block_shots)
    scores = memory.get(key)
    if scores is None:
        scores = score(backbone, examples, scoring, shots, block_shots=block_shots, progress=progress)
        memory.put(key, scores)
    elif progress is not None:
        progress(len(examples))
    return scores


def _digest(examples: Sequence[Example], scoring: Scoring, shots: Sequence[Shot], block_shots: int | None) -> bytes:
    """Hash all that decides scores, so that no text of a row is held on to."""
    written = [[shot.input, shot.answer, shot.joint] for shot in shots]
    queries = [[example.input, example.choices, example.joint] for example in examples]
    decisive = [scoring.model_dump(mode="json"), written, queries, block_shots]
    return hashlib.sha256(json.dumps(decisive).encode()).digest()


def _num_choices(scores: Scores) -> int:
    return sum(map(len, scores.choices))
