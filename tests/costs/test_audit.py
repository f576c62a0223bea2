"""What the audit must find by itself, against arithmetic written out here."""

import math

import pytest

from peftbench.costs.audit import audit, explain, pickled_bytes, rounds_to

CHECKS = {(check.row, check.column): check for check in audit()}
FLOPS = "inference FLOPs"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("T-Few", FLOPS), 11e9 * 103),
        (("T0", FLOPS), 11e9 * 103),
        (("T5+LM", FLOPS), 11e9 * (41 * 98 + 103)),
        (("GPT-3 6.7B", FLOPS), 2 * 6.7e9 * 4121),
        (("GPT-3 13B", FLOPS), 2 * 13e9 * 4121),
        (("GPT-3 175B", FLOPS), 2 * 175e9 * 4121),
        (("T-Few", "training FLOPs"), 3 * 11e9 * 1000 * 8 * 103),
        (("T-Few", "disk"), 4.325376),
        (("ICL", "disk"), 16.072),
        (("T0", "accuracy"), 62.51),
        (("GPT-3 175B", "break-even"), 19),
        (("GPT-3 13B", "break-even"), 257),
        (("GPT-3 6.7B", "break-even"), 503),
    ],
)
def test_the_formulas_give(key, value):
    assert CHECKS[key].value == pytest.approx(value, rel=1e-4)


def test_the_rows_that_differ_are_these():
    differing = {key for key, check in CHECKS.items() if not check.agrees and not math.isnan(check.printed)}
    assert differing == {
        ("GPT-3 6.7B", FLOPS),
        ("GPT-3 13B", FLOPS),
        ("T-Few", "disk"),
        ("ICL", "shots"),
        ("T0", "accuracy"),
        ("T5+LM", "accuracy"),
    }


@pytest.mark.parametrize(
    ("key", "reasons"),
    [
        (("GPT-3 6.7B", FLOPS), ["-2.2%", "without the query's 103 tokens", "5.38e+13"]),
        (("GPT-3 13B", FLOPS), ["-6.7%", "without the query's 103 tokens", "1.04e+14"]),
        (("T5+LM", FLOPS), ["ensemble", "9.065e+13", "2.0 x"]),
        (("T-Few", "disk"), ["pickled file", "MiB", "4.19"]),
        (("ICL", "shots"), ["which is 32", "41 is the mean"]),
        (("T0", "accuracy"), ["not reproduced", "67.0"]),
        (("T-Few", "training FLOPs"), ["0.66 x"]),
        (("GPT-3 6.7B", "break-even"), ["1.22 x", "110,000"]),
        (("GPT-3 13B", "break-even"), ["17,600"]),
        (("GPT-3 175B", "break-even"), ["779"]),
    ],
)
def test_the_reasons_are_found(key, reasons):
    assert all(reason in CHECKS[key].why for reason in reasons), CHECKS[key].why


def test_the_pickled_file_is_larger_than_its_tensors_and_4_2_in_mib():
    assert pickled_bytes() > 1_081_344 * 4
    assert rounds_to(pickled_bytes() / 2**20, 4.2)


def test_a_number_that_nothing_gives_is_said_to_be_so():
    assert explain(2.0, 3.0, {"the half": 1.0}) == (False, "printed +50.0%: nothing tried here gives it")
    assert explain(3.04, 3.0, {}) == (True, "")
