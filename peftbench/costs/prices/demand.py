"""What a strategy takes of whoever is paid for it: tokens of a query, examples and FLOPs."""

from dataclasses import dataclass

from peftbench.costs.of_model import PER_QUERY, Strategy, Workload
from peftbench.costs.prices.schema import Use


@dataclass(frozen=True)
class Demand:
    """What a strategy takes, in our tokens; means where queries differ.

    Args:
        use: What is asked of a priced model.
        shot_tokens: Of the shots, which stand before all queries; of all prompts of a query together.
        is_shared: Whether they are the same for all queries, so that they can be cached.
        input_tokens: Of a query, without its choices.
        choice_tokens: Of all its choices.
        num_choices: How many there are.
        num_prompts: Of a query: an ensemble has several, and so has a query that is calibrated by itself.
        query_flops: None where they are not known.
        cached_query_flops: With the shots' keys and values in a cache, as a server of one's own has it; None where they
            cannot be, or where it is not known.
        training_flops: None where they are not known; 0 where nothing is trained.
        num_examples: That training runs, over all steps; None where it is not known.
    """

    use: Use
    shot_tokens: float
    input_tokens: float
    choice_tokens: float
    num_choices: float
    query_flops: float | None
    cached_query_flops: float | None = None
    training_flops: float | None = 0
    num_examples: float | None = None
    num_prompts: float = 1
    is_shared: bool = True

    @property
    def answer_tokens(self) -> float:
        """Of an answer: the mean of its choices."""
        return self.choice_tokens / self.num_choices

    @property
    def example_tokens(self) -> float:
        """Of an example to train on: a query with its answer."""
        return self.input_tokens + self.answer_tokens


def of_strategy(strategy: Strategy, work: Workload, cached: Strategy | None = None) -> Demand:
    """Return what a strategy takes under a workload.

    Args:
        strategy: Of a model.
        work: Lengths of queries and shots, and the steps of training.
        cached: The same with the shots' keys and values in a cache; None where there is no such.
    """
    use: Use = "tuned" if strategy.is_tuned else "icl" if strategy.is_icl else "zero-shot"
    return Demand(
        use=use,
        shot_tokens=work.shot_tokens if strategy.is_icl else 0,
        input_tokens=work.query_tokens - sum(work.choice_tokens),
        choice_tokens=sum(work.choice_tokens),
        num_choices=len(work.choice_tokens),
        query_flops=strategy.value(PER_QUERY),
        cached_query_flops=cached.value(PER_QUERY) if cached else None,
        training_flops=strategy.value("training_flops"),
        num_examples=work.num_steps * work.batch_size if strategy.is_tuned else None,
    )
