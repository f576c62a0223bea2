import re
import sys
from pathlib import Path

import pytest

from peftbench import registry
from tests.methods import test_contract as contract

GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"
CHECKS = [
    contract.test_an_untrained_method_leaves_the_model_as_it_was_exactly_if_it_says_so,
    contract.test_every_parameter_gets_a_gradient_or_is_declared_dead,
    contract.test_a_step_lowers_the_loss_and_changes_nothing_that_was_not_returned,
    contract.test_the_declared_sizes_are_what_is_there,
    contract.test_the_declared_matmuls_are_the_flops_that_come_on_top,
    contract.test_the_lowest_adapted_layer_is_where_the_gradient_ends,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_example_in_the_guide_is_a_method(check, tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)[1]
    (tmp_path / "value_scaling.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "value_scaling", raising=False)
    monkeypatch.setitem(registry.METHODS, "value_scaling", "value_scaling")
    for family in ("t5", "gpt2"):
        check(contract.Case(family, "value_scaling"))
