"""The test rows of a task under one template: their scores, and the value of the task's metric."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from peftbench import registry
from peftbench.learners.predictor import Predictor
from peftbench.scoring.ranking import NORMALIZATIONS, predict
from peftbench.scoring.score import Scores
from peftbench.store.record import Normalization, TemplateResult
from peftbench.tasks.task import Example
from peftbench.tasks.template import Template


@dataclass(frozen=True)
class Evaluation:
    """The test rows under one template, and their scores.

    Args:
        metric: Name of the task's metric.
        num_skipped: Test rows that the template makes nothing of.
        is_fold: Whether the test rows are a fold, so that their places among all rows are told.
    """

    metric: str
    template: Template
    predictor: Predictor
    queries: Sequence[Example]
    scores: Scores
    num_skipped: int = 0
    is_fold: bool = False

    @cached_property
    def result(self) -> TemplateResult:
        """The right answers, and the metric where that is another one, by each length normalisation."""
        labels = [query.label for query in self.queries]
        predictions = {
            normalization: [predict(choices, normalization) for choices in self.scores.choices]
            for normalization in NORMALIZATIONS
        }
        right = {name: list(map(int.__eq__, chosen, labels)) for name, chosen in predictions.items()}
        return TemplateResult(
            template=self.template.index,
            name=self.template.name,
            num_examples=len(labels),
            num_correct={normalization: sum(is_right) for normalization, is_right in right.items()},
            num_shots=self.predictor.num_shots,
            right="".join("01"[is_right] for is_right in right["token"]),
            num_predicted=self._counts(predictions["token"]),
            num_labelled=self._counts(labels),
            num_skipped=self.num_skipped or None,
            row_ids=self.row_ids,
            **({} if self.metric == "accuracy" else self._other_metric(predictions, labels)),
        )

    @property
    def row_ids(self) -> str | None:
        """The queries' places among all rows, where they are a fold of them."""
        return " ".join(str(query.row_id) for query in self.queries) if self.is_fold else None

    def frame(self) -> pd.DataFrame:
        """Return one row per (example, choice): log-probability in nats, lengths, and what it is ranked by."""
        return pd.DataFrame(
            [
                {
                    "template": self.template.index,
                    "row_id": query.row_id,
                    "label": query.label,
                    "choice": index,
                    "log_prob": score.log_prob,
                    "num_tokens": score.num_tokens,
                    "num_chars": score.num_chars,
                    "num_bytes": score.num_bytes,
                    "ranked_by": score.value(),
                }
                for query, choices in zip(self.queries, self.scores.choices, strict=True)
                for index, score in enumerate(choices)
            ]
        )

    def _counts(self, indices: Sequence[int]) -> list[int]:
        """Count how often each index of a choice occurs."""
        counts = Counter(indices)
        return [counts[index] for index in range(max(len(query.choices) for query in self.queries))]

    @property
    def remark(self) -> str:
        """Its value, in words."""
        value = 100 * self.result.value()
        return f"{registry.scale(self.metric).title} {value:.1f} with template {self.template.index}"

    def _other_metric(self, predictions: Mapping[Normalization, list[int]], labels: list[int]) -> dict[str, Any]:
        """Compute a metric that does not follow from what is right and what is wrong."""
        metric = registry.metric(self.metric)
        values = {normalization: metric.of(chosen, labels) for normalization, chosen in predictions.items()}
        return {"values": values, "predictions": predictions["token"], "labels": labels}
