import pytest

from peftbench.report.rows import units


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.133e12, "1.1e12"), (47_000_000, "4.7e7"), (9.96e9, "1.0e10"), (0, "0"), (None, "n/a"), (7, "7.0e0")],
)
def test_flops_are_written_as_in_the_paper(value, text):
    assert units.flops(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1_081_344, "1.08M"), (540_672, "541k"), (999, "999"), (999_600, "1M"), (0, "0"), (None, "n/a")]
)
def test_counts_have_three_digits_and_a_prefix(value, text):
    assert units.number(value) == text


@pytest.mark.parametrize(("value", "text"), [(16_072, "16.1 kB"), (4_325_376, "4.33 MB"), (0, "0 B"), (None, "n/a")])
def test_bytes_are_powers_of_ten(value, text):
    assert units.size(value) == text


@pytest.mark.parametrize(("share", "text"), [(0.000097, "0.0097%"), (0.00166, "0.17%"), (1.0, "100%"), (0.123, "12%")])
def test_shares_keep_two_digits_however_small(share, text):
    assert units.fraction(share) == text


def test_equal_numbers_are_written_once():
    assert (units.span([4, 4]), units.span([5, 3, 4])) == ("4", "3-5")
