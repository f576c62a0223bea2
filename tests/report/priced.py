"""Records that say how many tokens their queries have, and prices for them."""

from peftbench.costs.prices.read import read
from peftbench.store.record import Cost
from tests.costs.prices.files import API, H100, HAIKU, MINI, ON_H100, toml

SHOT_TOKENS, INPUT_TOKENS, CHOICE_TOKENS = 98, 103, 2
NUM_CHOICES = 2


def with_tokens(record, shots=None):
    """The record with costs and work of so many tokens a shot, an input and a choice; 8,000 examples to train on.

    It is of an encoder-decoder: N FLOPs for a token by the paper's rule, and choices are fed whole.
    """
    number = (record.learned.num_shots if shots is None else shots) if record.learned.method is None else 0
    query = INPUT_TOKENS + NUM_CHOICES * CHOICE_TOKENS
    tokens = number * SHOT_TOKENS + query
    size, answered = record.model.num_parameters, sum(result.num_examples for result in record.results)

    def flops(name, value):
        return Cost(name=name, value=value, unit="FLOPs", kind="estimated", convention="c")

    costs = [cost for cost in record.costs if cost.kind == "counted" and cost.name != "disk_bytes"]
    costs.append(flops("inference_flops_per_example", size * tokens))
    if record.learned.method is not None:
        costs += [flops("training_flops", 3 * size * 8000 * query)]
    else:
        shot_bytes = 4 * number * SHOT_TOKENS
        costs.append(Cost(name="disk_bytes", value=shot_bytes, unit="bytes", kind="counted", convention="c"))
    work = {"scoring_choice_tokens": answered * NUM_CHOICES * CHOICE_TOKENS}
    return record.model_copy(update={"costs": costs, "work": record.work | work})


def prices(folder, **changes):
    """Read the prices of two models, a machine, and two ways to train."""
    tables = {
        "model": [HAIKU, MINI],
        "hosting": [H100],
        "training": [API, ON_H100 | {"start_seconds": 3600.0}],
    } | changes
    path = folder / "prices.toml"
    path.write_text(toml(**tables))
    return read(str(path))
