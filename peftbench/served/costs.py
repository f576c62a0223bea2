"""Costs of a served model: what is known without its weights, and why the rest is not."""

from collections.abc import Sequence

from peftbench.models.backbone import Backbone
from peftbench.scoring.work import Usage
from peftbench.served.backbone import Served
from peftbench.store.record import Cost

NO_CONFIG = "the served model's shapes are not known here: --config has them"
NO_SIZE = "the served model's number of parameters is not known here"
AS_RUN, IN_MEMORY = "a server does not say what it ran", "a server does not say in which precision it keeps them"
QUEUE = "with the server's queue in them"


def known(costs: Sequence[Cost], backbone: Backbone, usage: Usage) -> list[Cost]:
    """Leave out the values of costs that nobody knows of a served model, each with its reason; others are as they are.

    Args:
        costs: As they are counted where the weights are here, with sizes of 0 where no config was given.
        backbone: The model.
        usage: What was asked of its server.
    """
    return [_known(cost, backbone, usage) for cost in costs] if isinstance(backbone, Served) else list(costs)


def _known(cost: Cost, backbone: Served, usage: Usage) -> Cost:
    reason = _reason(cost, backbone, usage)
    if reason is not None:
        return cost.model_copy(update={"value": None, "reason": reason})
    if cost.name == "score_seconds":
        return cost.model_copy(update={"convention": f"{cost.convention}, {QUEUE}"})
    return cost


def _reason(cost: Cost, backbone: Served, usage: Usage) -> str | None:
    if cost.name == "score_seconds" and usage.resumed:
        return f"the run was stopped and went on: {usage.resumed:,} prompts had been answered before"
    if cost.name == "scoring_flops":
        return AS_RUN
    if cost.name == "cache_bytes":
        return IN_MEMORY
    if cost.unit != "FLOPs" or cost.name == "training_flops":
        return None
    if cost.kind == "estimated":
        return None if backbone.num_parameters else NO_SIZE
    return None if backbone.has_sizes else NO_CONFIG
