"""Trained parameters at T0-3B and T0-11B: every method against the table in docs, which stands beside the paper's."""

import re
from pathlib import Path

import pytest

from peftbench import registry
from peftbench.cli.options import assignments
from tests.methods.published import T0_3B, T0_11B

TABLE = Path(__file__).parents[2] / "docs" / "parameter-counts.md"
MODELS = [(T0_3B, 2_849_757_184), (T0_11B, 11_135_332_352)]  # the number of all parameters, as transformers counts them
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "": 1}
# Within how much of the paper's rounded count ours must lie where the table gives no reason; 3B is rounded most.
ROUNDED = 0.06

ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in TABLE.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| [a-z]\w+ \|", line) and not line.startswith("| method")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:2]))
def test_the_closed_form_gives_the_count_in_the_table_and_the_papers_where_no_reason_stands(row):
    name, settings, *counts, published, reason = row
    method = registry.method(name)
    config = method.Config(**assignments(settings.split()))
    expected = [int(count.replace(",", "")) for count in counts]
    assert [method.added(sizes, config).num_trained(total) for sizes, total in MODELS] == expected
    if published and not reason:
        number, unit = re.fullmatch(r"([\d.]+)([KMB]?)", published).groups()
        assert expected[0] == pytest.approx(float(number) * UNITS[unit], rel=ROUNDED)


def test_the_table_has_every_method():
    assert {row[0] for row in ROWS} == set(registry.METHODS)
