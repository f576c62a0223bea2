"""Each metric is shown with its own decimals, and nobody guesses a text."""

import re

import pytest

from peftbench import registry
from peftbench.cli.app import main
from peftbench.report.pictures.figures import magnitude, tick
from peftbench.report.rows.metric import hundredths
from peftbench.report.rows.units import percent, points
from tests.metrics.needs import needs
from tests.report.stored import wrote

REFERENCES = [[f"place {number} is near the river"] for number in range(9)]
OUTPUTS = {"ICL": ["it is near the river"] * 9, "ia3": [f"place {number} is near it" for number in range(9)]}


@pytest.fixture
def folder(tmp_path):
    for method, outputs in OUTPUTS.items():
        wrote(tmp_path, {0: outputs}, REFERENCES, method, metric="nist")
    return tmp_path


@needs("nist")
@pytest.mark.parametrize("form", ["table", "md", "latex"])
def test_nist_has_two_decimals_in_each_form_and_no_chance(folder, capsys, form):
    assert main(["report", "--results", str(folder), "--format", form, "-q"]) == 0
    text = capsys.readouterr().out
    assert len(re.findall(r"\b\d\.\d\d\b(?!\d)", text)) >= 2
    assert "chance" not in text


@needs("nist")
def test_a_comparison_has_them_too_and_names_its_unit(folder, capsys):
    assert main(["compare", "icl@mini-gpt:32", "ia3@mini-gpt:32", "--results", str(folder)]) == 0
    assert re.search(r"B minus A is [+-]\d\.\d\d NIST \(95 % interval", " ".join(capsys.readouterr().out.split()))


@pytest.mark.parametrize(
    ("value", "decimals", "text"), [(0.022338, 2, "2.23"), (-0.000001, 2, "0.00"), (-0.2, 0, "-20"), (0.724, 1, "72.4")]
)
def test_a_score_is_written_without_a_negative_zero(value, decimals, text):
    assert percent(value, decimals) == text
    assert points(value, decimals).lstrip("+") == text


def test_axes_of_small_scores_have_ticks_of_their_own_size():
    assert (magnitude([0.022, 0.01]), magnitude([0.2]), magnitude([1.0]), magnitude([0.0])) == (0.1, 1, 1, 1)
    assert (tick(0.005), tick(0.1 + 0.2), tick(-0.0)) == ("0.5", "30", "0")


@pytest.mark.parametrize(
    ("score", "metric", "share"),
    [(0.6, "accuracy", 0.6), (60, "accuracy", 0.6), (65, "bleu", 0.65), (0.45, "ter", 0.0045), (2.2, "cider", 0.022)],
)
def test_a_score_is_read_as_people_type_it(score, metric, share):
    assert hundredths(score, registry.scale(metric)) == pytest.approx(share)
