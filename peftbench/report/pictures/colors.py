"""Which colour and which shape stands for what: the same in a page and in a PNG."""

from peftbench.report.rows.table import Table

LIGHT = ("#6b7280", "#c2410c", "#1d63c0", "#0f7f5f", "#9333a8", "#a16207", "#0e7490", "#be185d", "#4d7c0f")
"""The style sheet's --s0, --s1, ... on white; more series than colours take them again."""
NUM_SHAPES = 5


def of_series(table: Table) -> dict[str, int]:
    """Number the methods; zero-shot and ICL have the same colours in every report."""
    methods = {row.method for row in table.rows}
    names = [name for name in ("zero-shot", "ICL") if name in methods]
    rest = list(dict.fromkeys(row.method for row in table.rows if row.method not in names))
    fixed = {"zero-shot": 0, "ICL": 1}
    return {name: fixed[name] for name in names} | {name: 2 + k % (len(LIGHT) - 2) for k, name in enumerate(rest)}


def of_models(table: Table) -> dict[str, int]:
    """Number the models' shapes."""
    models = dict.fromkeys(row.model for row in table.rows)
    return {name: k % NUM_SHAPES for k, name in enumerate(models)}
