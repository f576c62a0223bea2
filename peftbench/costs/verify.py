"""Whether counted FLOPs are those of the model: by the kernels that run, and by the graph. `peftbench cost --verify`.

A model is built from its shapes, and a query and a training step of it are traced. Three numbers, which share no code,
are to be the same to the last unit: the closed form of `count.py` and `backward.py`, torch's formulas over kernels, and
fvcore's over the graph (forward only: a graph knows no backward pass). What values the weights have does not matter: a
small model's are whatever lay in memory, a large one's are not there at all (torch's meta device).
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from peftbench import registry
from peftbench.costs import count
from peftbench.costs.adapter_file import without_weights
from peftbench.costs.backward import training_flops
from peftbench.costs.count import NOTHING, Query
from peftbench.costs.describe import Described, describe
from peftbench.costs.graph import graph_flops
from peftbench.costs.kernels import kernel_flops
from peftbench.errors import CostError, MethodError, RecordError
from peftbench.methods.base import Added
from peftbench.methods.stages import Stages
from peftbench.models.backbone import Backbone
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.forward import choice_log_probs, of_members
from peftbench.spec.settings import checked
from peftbench.store.record import Record

SMALL = 10**8
"""Up to so many parameters a model is built in memory."""


@dataclass(frozen=True)
class Verification:
    """FLOPs of the same work, counted and traced.

    Args:
        model: Name of the model.
        of: What was run: "query", "ia3 query", "ia3 training step".
        query: Its token lengths.
        counted: In closed form, from shapes alone.
        kernels: Of the kernels that ran.
        graph: Of the traced graph; None where no graph has it.
    """

    model: str
    of: str
    query: Query
    counted: int
    kernels: int
    graph: int | None

    @property
    def agrees(self) -> bool:
        """Whether all numbers that there are, are the same."""
        return self.counted == self.kernels and self.graph in (None, self.counted)


class Example(nn.Module):
    """A query with its choices as they are scored and trained on; which tokens it has does not matter.

    Args:
        backbone: Runs it.
        query: Token lengths.
    """

    def __init__(self, backbone: Backbone, query: Query) -> None:
        super().__init__()
        self.model, self._backbone = backbone.model, backbone
        more, size = backbone.sizes.num_fed_more, backbone.sizes.vocab_size
        choices = tuple(
            tuple((3 + index) % size for _ in range(fed - more)) for index, fed in enumerate(query.choice_tokens)
        )
        context = (3 % size,) * (query.shot_tokens + query.input_tokens)
        self._batch = of_members(backbone, [Encoded(context, choices, (0,) * len(choices))])

    def forward(self, _: Tensor | None = None) -> Tensor:
        """Compute the log-probabilities of the answer tokens, (batch, choices, length)."""
        return choice_log_probs(self._backbone, self._batch, is_shared=False)[0]


def verify(model: Described, query: Query, method: str | None = None, config: Any = None) -> list[Verification]:
    """Count and trace a query, and with a method also a training step of one example.

    Args:
        model: Its shapes.
        query: Token lengths, virtual tokens left out; choices that are run as rows are made as long as the longest.
        method: Name of what is attached; None: nothing, and only the query is traced.
        config: The method's settings.

    Raises:
        CostError: The graph has an operator that cannot be counted, or values decide what a large model runs.
        MethodError: The method does not fit the model, or has no closed form.
        ModelError: The query is longer than the model's positions.
    """
    backbone = _built(model)
    if not backbone.sizes.is_causal:  # an example's choices are rows of equal length
        longest = max(query.choice_tokens)
        query = replace(query, choice_tokens=(longest,) * len(query.choice_tokens))
    if method is None:
        return [_query(backbone, query, "query", NOTHING)]
    try:
        stages = _attached(backbone, method, config)
        added = stages.method.added(backbone.sizes, config)
        step = _step(stages, query, f"{method} training step", added)
        _finish(stages)
        return [_query(backbone, query, f"{method} query", added), step]
    except (RuntimeError, NotImplementedError):  # torch's, where values decide and there are none
        if model.num_parameters <= SMALL:
            raise
        raise CostError(
            f"{method} looks at values, and '{model.name}' is built without any",
            hint=f"verify it with a model of up to {SMALL:,} parameters",
        ) from None


def _built(model: Described) -> Backbone:
    """Build a model: in memory where it is small, on the meta device where it is not."""
    backbone = without_weights(model, "float32")
    if model.num_parameters <= SMALL:
        backbone.model.to_empty(device="cpu")
    return backbone


def _query(backbone: Backbone, query: Query, of: str, added: Added) -> Verification:
    example = Example(backbone, query)
    counted = added.num_members * count.forward_flops(backbone.sizes, query, added, merged=False)
    with torch.no_grad():
        kernels = kernel_flops(example)
    return Verification(backbone.name, of, query, counted, kernels, graph_flops(example, torch.zeros(1)))


def _step(stages: Stages, query: Query, of: str, added: Added) -> Verification:
    backbone = stages.backbone
    example = Example(backbone, query)
    counted = training_flops(backbone.sizes, {query: added.num_members}, 1, added)
    kernels = kernel_flops(lambda: stages.penalized({"loss": -example().sum()})["loss"].backward())
    backbone.model.zero_grad(set_to_none=True)
    return Verification(backbone.name, of, query, counted, kernels, None)


def _attached(backbone: Backbone, name: str, config: Any) -> Stages:
    method = registry.method(name)
    with backbone.device:
        names = method.attach(backbone, config)
    backbone.train_only(names)
    return Stages(method, backbone, config, names)


def _finish(stages: Stages) -> None:
    """Turn what was trained into what answers queries, unless values decide it, which are not there."""
    if not stages.method.prunes:
        with stages.backbone.device:
            stages.finish()


def verify_record(record: Record) -> list[Verification]:
    """Count and trace a query and a training step of a record's model and method, of the mean lengths that it ran.

    Raises:
        CostError: The model of this name has another number of parameters than the record's; or as `verify`.
        MethodError: The record's method has no closed form, or no longer takes the record's settings.
        ModelError: There is no such model here.
        RecordError: The record does not say how many tokens it scored.
    """
    if "scoring_context_tokens" not in record.work:
        hint = f"verify its model by itself: --verify --model {record.model.name}"
        raise RecordError(f"record '{record.id}' does not say how many tokens it scored", hint=hint)
    if record.identity.get("icl", {}).get("attention") == "block":
        message = f"record '{record.id}' ran its shots in blocks, and a query is traced as one sequence"
        raise RecordError(message, hint="verify a record of the same cell without --attention block")
    model, learned = describe(record.model.name), record.learned
    if model.num_parameters != record.model.num_parameters:
        raise CostError(
            f"record '{record.id}' is of a '{model.name}' with {record.model.num_parameters:,} parameters, and the one "
            f"here has {model.num_parameters:,}",
            hint="verify it where the same model lies, or verify the model by itself: --verify --model NAME",
        )
    if learned.method is None:
        return verify(model, _mean_query(record, 0))
    method = registry.method(learned.method)
    config = checked(method.Config, learned.config or {}, f"method '{learned.method}'", MethodError)
    virtual = method.added(model.shape.sizes, config).extra_tokens
    return verify(model, _mean_query(record, virtual), learned.method, config)


def _mean_query(record: Record, num_virtual: int) -> Query:
    """Build a query of the mean lengths that were scored, with two choices, whose number the record does not say."""
    work, num_examples = record.work, sum(result.num_examples for result in record.results)
    context = work["scoring_context_tokens"] / num_examples + work["scoring_shared_tokens"] / len(record.results)
    fed = round(work["scoring_choice_tokens"] / num_examples / 2)
    least = 1 if record.model.is_encoder_decoder else 0
    return Query(0, max(1, round(context) - num_virtual), (max(least, fed),) * 2)
