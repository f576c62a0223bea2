"""What is attached to a model between two trials: what was tuned last, for the next one if it would learn the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from peftbench.flow.trial import Trial
from peftbench.learners.learn import Learned, Tuned
from peftbench.learners.progress import Watch
from peftbench.models.backbone import Backbone


@dataclass(frozen=True)
class Last:
    """The last trial that was tuned.

    Args:
        planned: The trial before its model chose shots, if it did.
        trial: The trial as it was run.
        tuned: What came out; its adapter is attached to the trial's backbone.
    """

    planned: Trial
    trial: Trial
    tuned: Tuned

    def learns_as(self, planned: Trial) -> bool:
        """Tell whether a trial would learn just this: the same shots in the same texts, settings, seed and model."""
        own = self.planned
        return (
            own.backbone is planned.backbone
            and (own.scoring, own.learner) == (planned.scoring, planned.learner)
            and (own.cell.draw, own.plan.source.sha256) == (planned.cell.draw, planned.plan.source.sha256)
        )

    def shared(self, planned: Trial) -> tuple[Trial, Tuned]:
        """Return a trial that learns just this, with the shots that the model chose, and what was learned."""
        if self.trial.drawing is not None:
            plan = replace(planned.plan, shots=self.trial.plan.shots)
            planned = replace(planned, plan=plan, learner=self.trial.learner, drawing=self.trial.drawing)
        return planned, replace(self.tuned, num_templates=len(planned.plan.queries))


class Attached:
    """Keeps what was tuned attached until a trial learns something else, so that targets of one source share it.

    No more than one adapter is in memory; prompts and classifiers are made for each trial.
    """

    def __init__(self) -> None:
        self._last: Last | None = None

    @contextmanager
    def on(self, backbone: Backbone) -> Iterator[None]:
        """Run a trial in the block; if it tunes nothing, or fails, the backbone is left as it was loaded."""
        try:
            yield
        except BaseException:
            self._last = None
            raise
        finally:
            if self._last is None:
                backbone.detach_all()

    def learn(self, planned: Trial, watch: Watch) -> tuple[Trial, Learned]:
        """Learn what a trial learns, unless that is what is attached.

        Args:
            planned: The trial. What enters learning is compared, not what its cell says.
            watch: Is told of each step, if there are any.

        Returns:
            The trial with its shots, and what was learned.

        Raises:
            PeftbenchError: As `Trial.drawn` and `Trial.learn`.
        """
        if self._last is not None and self._last.learns_as(planned):
            return self._last.shared(planned)
        self.detach()
        trial = planned.drawn()
        learned = trial.learn(watch)
        if isinstance(learned, Tuned):
            self._last = Last(planned, trial, learned)
        return trial, learned

    def detach(self) -> None:
        """Leave the backbone as it was loaded."""
        if self._last is not None:
            self._last.trial.backbone.detach_all()
            self._last = None
