"""The test rows of a task whose answers are written: outputs, what they are compared with, and the value."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from peftbench import registry
from peftbench.costs.of_written import Written
from peftbench.flow.evaluation import Evaluation
from peftbench.flow.trial import Trial
from peftbench.learners.predictor import Predictor
from peftbench.scoring.encoding import cut_input
from peftbench.scoring.generate import Output
from peftbench.scoring.score import Scores
from peftbench.scoring.work import Length, Work
from peftbench.store.record import TemplateResult, WrittenResult
from peftbench.tasks.task import Example
from peftbench.tasks.template import Template
from peftbench.tasks.text_template import TextTemplate


@dataclass(frozen=True, kw_only=True)
class WrittenEvaluation(Evaluation):
    """The test rows under one template, and what was written.

    Args:
        outputs: One for each query, in their order.
        references: The same of its references, as the file has them.
        written: What the costs are counted from.
    """

    outputs: Sequence[Output]
    references: Sequence[Sequence[str]]
    written: Written

    @property
    def result(self) -> TemplateResult:
        """The value, and by example what a bootstrap weighs."""
        return TemplateResult(
            template=self.template.index,
            name=self.template.name,
            num_examples=len(self.queries),
            num_correct={},
            num_shots=self.predictor.num_shots,
            num_skipped=self.num_skipped or None,
            row_ids=self.row_ids,
            written=self._written(),
        )

    def _written(self) -> WrittenResult:
        metric = registry.text_metric(self.metric)
        statistics = metric.statistics_of([output.text for output in self.outputs], self.references)
        return WrittenResult(
            value=metric.of_sums(statistics.sum(0)),
            scale=metric.scale,
            statistics=statistics.tolist(),
            num_tokens=sum(output.num_tokens for output in self.outputs),
            num_empty=sum(not output.text for output in self.outputs),
            num_cut=sum(output.is_cut for output in self.outputs),
        )

    def frame(self) -> pd.DataFrame:
        """Return one row per example: what was written, its tokens, and how many references it was compared with."""
        return pd.DataFrame(
            [
                {
                    "template": self.template.index,
                    "row_id": query.row_id,
                    "output": output.text,
                    "num_tokens": output.num_tokens,
                    "num_context_tokens": output.context_tokens,
                    "is_cut": output.is_cut,
                    "num_references": len(references),
                }
                for query, output, references in zip(self.queries, self.outputs, self.references, strict=True)
            ]
        )


def evaluate(
    trial: Trial,
    template: Template,
    predictor: Predictor,
    queries: Sequence[Example],
    progress: Callable[[int], None],
) -> WrittenEvaluation:
    """Write an answer to each test row under one template, and compare it with the row's references.

    Raises:
        ModelError: A prompt and its answer are longer than the model's positions.
    """
    assert isinstance(template, TextTemplate)
    assert trial.decoding is not None
    started = time.perf_counter()
    cuts = [cut_input(trial.backbone, query, trial.scoring.max_input_tokens) for query in queries]
    outputs = predictor.generate([query for query, _ in cuts], trial.decoding, progress)
    seconds = time.perf_counter() - started
    more = trial.backbone.sizes.num_fed_more
    lengths = [Length(part.context_tokens, (part.num_tokens + more,), predictor.shot_tokens) for part in outputs]
    return WrittenEvaluation(
        metric=trial.plan.task.metric,
        template=template,
        predictor=predictor,
        queries=queries,
        scores=replace(Scores([], lengths, _work(outputs, sum(number for _, number in cuts))), seconds=seconds),
        num_skipped=trial.plan.num_skipped(template),
        is_fold=trial.cell.fold is not None,
        outputs=outputs,
        references=[template.references_of(query.row) for query in queries if query.row],
        written=Written(trial.decoding.num_beams, outputs),
    )


def _work(outputs: Sequence[Output], num_cut: int) -> Work:
    return Work(
        shared_tokens=max(output.shared_tokens for output in outputs),
        context_tokens=sum(output.context_tokens - output.shared_tokens for output in outputs),
        choice_tokens=sum(output.num_tokens for output in outputs),
        cut_tokens=num_cut,
    )
