"""The audit of a paper's numbers, and a verification of counts, as text and as data."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from peftbench.costs.audit import Check
from peftbench.report.formats.columns import Column
from peftbench.report.formats.drawing import draw
from peftbench.report.formats.text import grids, note
from peftbench.report.rows import units

if TYPE_CHECKING:
    from peftbench.costs.verify import Verification

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
    """Build one JSON object of the audit."""
    table = [asdict(check) | {"printed": None if math.isnan(check.printed) else check.printed} for check in checks]
    return {"schema_version": SCHEMA_VERSION, "paper": "2205.05638", "checks": table}


def verified_text(lines: Sequence["Verification"], console: Console) -> str:
    """Draw counted and traced FLOPs beside each other, to the last unit."""
    columns = [
        Column(("model",), tuple(line.model for line in lines), is_text=True, is_key=True),
        Column(("run",), tuple(line.of for line in lines), is_text=True, is_key=True),
        Column(("tokens",), tuple(_tokens(line) for line in lines)),
        Column(("FLOPs,", "counted"), tuple(f"{line.counted:,}" for line in lines)),
        Column(("by the", "kernels"), tuple(f"{line.kernels:,}" for line in lines)),
        Column(("by the", "graph"), tuple(units.ABSENT if line.graph is None else f"{line.graph:,}" for line in lines)),
        Column(("",), tuple("agrees" if line.agrees else "DIFFERS" for line in lines), is_text=True),
    ]
    notes = [
        "tokens: before the choices, and of each choice as it is fed to the model",
        "counted: from shapes alone; by the kernels: torch's formulas over what ran; by the graph: fvcore's (forward)",
    ]
    return draw(console, [*grids(columns, console.width), *(note(text, "dim") for text in notes)])


def verified_data(lines: Sequence["Verification"]) -> dict[str, Any]:
    """Build one JSON object of a verification."""
    table = [asdict(line) | {"query": _query(line), "agrees": line.agrees} for line in lines]
    return {"schema_version": SCHEMA_VERSION, "unit": "FLOPs", "verified": table}


def _query(line: "Verification") -> dict[str, Any]:
    """Write a query's numbers of tokens, and the blocks of its shots where there are some."""
    return {name: value for name, value in asdict(line.query).items() if value is not None}


def _tokens(line: "Verification") -> str:
    choices = ", ".join(map(str, line.query.choice_tokens))
    return f"{line.query.shot_tokens + line.query.input_tokens:,} + {choices}"


def _number(value: float, decimals: int) -> str:
    if math.isnan(value):
        return "-"
    return units.flops(value, decimals) if value >= LARGE else f"{value:,.6g}"


def _verdict(check: Check) -> str:
    if math.isnan(check.printed):
        return "not printed"
    return "agrees" if check.agrees else "DIFFERS"
