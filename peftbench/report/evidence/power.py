"""What differences a number of rows can show, and how many rows it takes to show one."""

import math
from statistics import NormalDist

POWER = 0.8
Z_POWER = NormalDist().inv_cdf(POWER)


def detectable(error: float, critical: float) -> float:
    """Return the true difference that a test shows in 80 of 100 cases.

    (z + 0.84) error;  z is 1.96 for one candidate on each side, error = s_d / sqrt(n)

    Args:
        error: Standard error of the difference.
        critical: z, what difference / error has to exceed.

    Paper: Cohen 1988, chapter 2; for paired answers 2411.00640, section 5.
    """
    return (critical + Z_POWER) * error


def num_more_rows(difference: float, detectable: float, num_rows: int) -> int:
    """Count the rows beside these with which a difference like the one that was seen would be detectable.

    n (detectable / difference)^2 - n, as the error falls with the square root of the rows

    Args:
        difference: Not 0.
        detectable: With these rows.
        num_rows: n.
    """
    return max(0, math.ceil(num_rows * (detectable / difference) ** 2) - num_rows)
