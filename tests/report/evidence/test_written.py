"""Written answers of two sides are compared as chosen ones are, in whatever metric their task has."""

import json
import re
from math import comb

import numpy as np
import pytest
from pydantic import TypeAdapter
from rich.console import Console

from peftbench import registry
from peftbench.cli.app import main
from peftbench.errors import RecordError
from peftbench.report.evidence import randomisation
from peftbench.report.evidence.compare import compare
from peftbench.report.evidence.randomisation import Statistics
from peftbench.report.formats import compare_text
from peftbench.report.formats.schema import ComparisonFields
from peftbench.report.notes import caveats
from peftbench.report.rows.select import choose, read
from tests.metrics.needs import needs
from tests.report.stored import wrote

A, B = "icl@mini-gpt:32", "ia3@mini-gpt:32"
REFERENCES = [[f"the place {number} is near the river", f"{number} by the river"] for number in range(12)]
GOOD = [texts[number % 2] for number, texts in enumerate(REFERENCES)]
BAD = [text if number % 3 else text.replace("river", "pub") for number, text in enumerate(GOOD)]
WORSE = [text.split("the")[0] for text in BAD]


def compared(folder, a=A, b=B):
    every = read([folder])
    return compare(choose(a, every), choose(b, every))


def both(folder, a, b, **facts):
    return wrote(folder, a, REFERENCES, **facts), wrote(folder, b, REFERENCES, "ia3", **facts)


def sides(metric, *outputs):
    """Two templates, under each of which A and B wrote."""
    return Statistics(
        *(tuple(metric.statistics_of(part, REFERENCES) for part in of_side) for of_side in zip(*outputs, strict=True))
    )


@pytest.mark.parametrize("name", ["token_f1", pytest.param("bleu", marks=needs("bleu"))])
def test_draws_are_the_metric_of_outputs_that_stand_several_times_or_change_sides(name):
    metric, generator = registry.text_metric(name), np.random.default_rng(0)
    outputs = [(BAD, GOOD), (WORSE, BAD)]  # (A, B) under each template

    def by_hand(rows, swap):
        values = []
        for pair in outputs:
            a, b = ([pair[side ^ bool(swap[row])][row] for row in rows] for side in (0, 1))
            of_rows = [REFERENCES[row] for row in rows]
            values.append(metric.of(b, of_rows) - metric.of(a, of_rows))
        return metric.scale / 100 * sum(values) / len(values)

    every, swaps = list(range(12)), generator.integers(2, size=(5, 12))
    times = generator.multinomial(12, [1 / 12] * 12, size=5)
    resampled = randomisation.resampled(metric, sides(metric, *outputs), times)
    swapped = randomisation.swapped(metric, sides(metric, *outputs), swaps)
    for number in range(5):
        rows = np.repeat(every, times[number]).tolist()
        assert resampled[number] == pytest.approx(by_hand(rows, [0] * 12))
        assert swapped[number] == pytest.approx(by_hand(every, swaps[number]))


def test_of_exact_matches_the_p_value_is_near_mcnemars_exact_one(tmp_path):
    # A alone is right in 1 example, B alone in 9: of 10 coins one side has so few with probability 22 / 1024
    wrong = ["" if number in range(2, 11) else text for number, text in enumerate(GOOD)]
    both(tmp_path, {0: wrong}, {0: ["", *GOOD[1:]]}, metric="exact_match")
    line = compared(tmp_path).overall
    assert (line.score_a, line.score_b) == (3 / 12, pytest.approx(11 / 12))
    assert line.p_value == pytest.approx(2 * (comb(10, 0) + comb(10, 1)) / 2**10, abs=0.005)
    assert (line.test, line.num_a_ahead, line.is_different) == ("approximate randomisation", None, True)
    assert line.interval[0] < 8 / 12 < line.interval[1]


def test_templates_and_seeds_are_joined_and_the_text_speaks_of_no_choices(tmp_path):
    for seed, b in ((0, GOOD), (1, BAD)):
        both(tmp_path, {0: WORSE, 1: BAD}, {0: b, 2: GOOD}, seed=seed)
    comparison = compared(tmp_path)
    metric, (pairs,) = registry.text_metric("token_f1"), comparison.pairs
    by_seed = [metric.of(b, REFERENCES) - metric.of(WORSE, REFERENCES) for b in (GOOD, BAD)]
    assert pairs.by_seed == pytest.approx(by_seed)
    assert comparison.overall.difference == pytest.approx(np.mean(by_seed))
    assert comparison.left_out == ("data: template 1: only A has it", "data: template 2: only B has it")
    text = " ".join(compare_text.terminal(comparison, caveats.findings(comparison), Console(width=100)).split())
    assert not re.search("ahead|right|ranked|log-prob", text)
    assert "B (ia3 on mini-gpt, 32 shots) has the better token F1 than A" in text
    TypeAdapter(ComparisonFields).validate_json(json.dumps(compare_text.to_json(comparison, [])))


@needs("ter")
def test_less_is_better_where_edits_are_counted(tmp_path):
    both(tmp_path, {0: WORSE}, {0: GOOD}, metric="ter")
    line = compared(tmp_path).overall
    assert (line.score_b, line.is_b_better, line.is_different) == (0, True, True)
    assert line.score_a == pytest.approx(registry.text_metric("ter").of(WORSE, REFERENCES) / 100)


def test_two_metrics_of_one_task_are_refused_in_one_line(tmp_path, capsys):
    wrote(tmp_path, {0: GOOD}, REFERENCES)
    wrote(tmp_path, {0: GOOD}, REFERENCES, "ia3", metric="contains")
    assert main(["compare", A, B, "--results", str(tmp_path)]) == 2
    error, _, hint = capsys.readouterr().err.splitlines()
    assert "scored by several metrics: A has token_f1; B has contains" in error
    assert hint.startswith("hint: ")


@needs("nist")
def test_a_part_of_the_rows_is_refused_where_a_metric_is_of_all(tmp_path):
    wrote(tmp_path, {0: GOOD}, REFERENCES, metric="nist")
    wrote(tmp_path, {0: GOOD[:9]}, REFERENCES[:9], "ia3", metric="nist", limit=9)
    with pytest.raises(RecordError, match=r"A and B share 9 of 12 rows of task 'data', and NIST is of all of them"):
        compared(tmp_path)
