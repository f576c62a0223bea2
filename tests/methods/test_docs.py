import re
import sys
from pathlib import Path

from peftbench import registry
from tests.methods.contract import Case, it_learns_with_its_defaults, walk

GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"


def test_the_example_in_the_guide_is_a_method(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)[1]
    (tmp_path / "value_scaling.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "value_scaling", raising=False)
    monkeypatch.setitem(registry.METHODS, "value_scaling", "value_scaling")
    for family in ("t5", "gpt2"):
        for promise, state in walk(Case(family, "value_scaling")):
            promise(state)
    it_learns_with_its_defaults(Case("gpt2", "value_scaling"))
