"""A trial's identity: what is in it, and that it stays what it was."""

from pathlib import Path

import pytest

from peftbench.cli.run import expanded
from peftbench.flow import trial
from peftbench.flow.plan import plans
from peftbench.spec.cell import Cell
from peftbench.spec.recipe import find
from peftbench.store.results import Store

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def test_every_field_of_a_cell_is_said_to_belong_to_its_identity_or_not():
    tables = [trial.ALWAYS, trial.WHEN_SET, trial.RESOLVED, trial.NOT_IDENTITY]
    assert sorted(name for table in tables for name in table) == sorted(Cell.model_fields)


@pytest.mark.parametrize(
    ("recipe", "study"), [("table1", ""), ("icl-sensitivity", "icl-sensitivity"), ("losses", "losses")]
)
def test_the_cells_of_a_recipe_have_the_ids_of_the_records_that_were_made_of_it_before(recipe, study):
    """A sample of each model's: what was measured before is found, and not run again."""
    known = {record.id for record in Store(REFERENCE / study).all()}
    cells = expanded(find(recipe))
    for model in {cell.model for cell in cells}:
        mine = [cell for cell in cells if cell.model == model]
        chosen = [*mine[:: max(1, len(mine) // 12)], mine[-1]]
        assert {made.id for made in trial.trials(plans(chosen))} <= known
