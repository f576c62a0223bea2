"""The audit of a paper's numbers, and a verification of counts, as text and as data."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from peftbench.costs.audit import Check
from peftbench.report.formats.columns import Column
from peftbench.report.formats.text import draw, grids, note
from peftbench.report.rows import units

SCHEMA_VERSION = 1
DECIMALS = 3
LARGE = 1e9
"""From here on numbers are written with exponents."""


def audit_text(checks: Sequence[Check], console: Console) -> str:
    """Draw the audit, the reasons below the numbers."""
    columns = [
        Column(("row",), tuple(check.row for check in checks), is_text=True, is_key=True),
        Column(("number",), tuple(check.column for check in checks), is_text=True),
        Column(("stated formula",), tuple(check.formula for check in checks), is_text=True),
        Column(("value",), tuple(_number(check.value, DECIMALS) for check in checks)),
        Column(("printed",), tuple(_number(check.printed, 1) for check in checks)),
        Column(("unit",), tuple(check.unit for check in checks), is_text=True),
        Column(("",), tuple(_verdict(check) for check in checks), is_text=True),
    ]
    title = "Table 1 of arXiv 2205.05638 by its own formula: 2N FLOPs per token, N for encoder-decoders"
    reasons = [note(f"{check.row}, {check.column}: {check.why}", "") for check in checks if check.why]
    return draw(console, [Text(title, style="bold"), *grids(columns, console.width), *reasons])


def audit_data(checks: Sequence[Check]) -> dict[str, Any]:
    """Give the audit as one JSON object."""
    lines = [asdict(check) | {"printed": None if math.isnan(check.printed) else check.printed} for check in checks]
    return {"schema_version": SCHEMA_VERSION, "paper": "2205.05638", "checks": lines}


def _number(value: float, decimals: int) -> str:
    if math.isnan(value):
        return "-"
    return units.flops(value, decimals) if value >= LARGE else f"{value:,.6g}"


def _verdict(check: Check) -> str:
    if math.isnan(check.printed):
        return "not printed"
    return "agrees" if check.agrees else "DIFFERS"
