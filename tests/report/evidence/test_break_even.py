from peftbench.report.evidence.break_even import break_evens
from peftbench.report.notes.break_even import queries, sentences
from peftbench.report.rows.table import build
from tests.report.records import record


def only(*records):
    (table,) = build(records)
    (one,) = break_evens(table)
    return one


def test_break_even_is_training_over_what_a_query_saves():
    # 9.1e12 / (33 * 47e6 - 47e6) = 6050.5
    one = only(record(), record("ia3", "mini-t0"))
    assert (one.plain, one.has_cached) == (6_051, False)
    text = "ia3 on mini-t0 has paid for its training after 6,051 queries against 32-shot ICL on mini-gpt"
    assert sentences([one]) == [text]


def test_break_even_is_against_the_same_model_where_there_is_one():
    assert only(record(), record("ICL", "mini-t0"), record("ia3", "mini-gpt")).icl.model == "mini-gpt"
    assert only(record(), record("ICL", "mini-t0"), record("ia3", "mini-t0")).icl.model == "mini-t0"


def test_break_even_is_against_the_most_shots():
    assert only(record(shots=4), record(shots=32), record(shots=16), record("ia3", "mini-t0")).icl.num_shots == 32


def cached(flops, filling):
    """ICL with counted costs of a cache."""
    plain = record()
    costs = {"cached_inference_flops_per_example": flops, "cache_flops": filling}
    more = [plain.costs[0].model_copy(update={"name": name, "value": value}) for name, value in costs.items()]
    return plain.model_copy(update={"costs": [*plain.costs, *more]})


def test_filling_the_cache_is_paid_once_by_the_other_side():
    # (9.1e12 - 1e11) / (57e6 - 47e6) = 900,000
    one = only(cached(57_000_000, 100_000_000_000), record("ia3", "mini-t0"))
    assert (one.plain, one.cached) == (6_051, 900_000)
    assert sentences([one])[0].endswith(", 900,000 queries where the shots' keys and values are cached")


def test_a_query_that_costs_no_less_never_pays():
    one = only(cached(47_000_000, 1), record("ia3", "mini-t0"))
    assert one.cached is None
    assert sentences([one])[0].endswith("on mini-gpt, never where the shots' keys and values are cached")


def test_training_that_costs_less_than_the_cache_has_paid_at_once():
    assert only(cached(57_000_000, 10**15), record("ia3", "mini-t0")).cached == 0


def test_one_query_is_no_plural():
    assert [queries(number) for number in (1, 2)] == ["1 query", "2 queries"]


def test_rows_that_differ_in_shots_share_a_line_with_ranges():
    few, many = record("ia3", "mini-t0", shots=4), record("ia3", "mini-t0", shots=8)
    (alike,) = build([record(), few, many])
    text = "ia3 on mini-t0 has paid for its training after 6,051 queries against 32-shot ICL on mini-gpt"
    assert sentences(break_evens(alike)) == [text]
    is_training = [cost.name == "training_flops" for cost in many.costs]
    dear = [
        cost.model_copy(update={"value": 2 * cost.value}) if is_one else cost
        for cost, is_one in zip(many.costs, is_training, strict=True)
    ]
    (apart,) = build([record(), few, many.model_copy(update={"costs": dear})])
    # 18.2e12 / (33 * 47e6 - 47e6) = 12,101.1
    text = text.replace("mini-t0 has", "mini-t0, 4-8 shots, has").replace("6,051", "6,051 to 12,102")
    assert sentences(break_evens(apart)) == [text]
