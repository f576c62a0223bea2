import ast
import importlib
import os
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from peftbench import registry
from peftbench.errors import MethodError
from peftbench.tasks.load import expand
from tests.drills.process import fork, wait

PACKAGE = registry.PACKAGE

# What each part may import, from the top of the house to its foundations.
ORDER = [
    ["cli"],
    ["decision"],
    ["flow", "report"],
    ["served"],
    ["costs"],
    ["learners"],
    ["selection"],
    ["classifiers"],
    ["adapters"],
    ["methods"],
    ["scoring"],
    ["models"],
    ["tasks"],
    ["metrics"],
    ["store"],
    ["spec"],
    ["registry"],
    ["errors"],
]
# What the registry looks up it imports when it is asked to, and it names the type of what it returns.
LOOKED_UP = {("registry", part) for part in ("classifiers", "methods", "metrics", "models", "selection")}
RANK = {part: rank for rank, parts in enumerate(ORDER) for part in parts}


def for_types(tree: ast.Module) -> set[ast.AST]:
    """What stands under `if TYPE_CHECKING`: it is never run."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {inner for block in blocks for inner in ast.walk(block)}


@cache
def parsed() -> dict[Path, list[ast.Import | ast.ImportFrom]]:
    """File -> the imports in it that are run, those inside of functions included."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    return {
        path: [node for node in set(ast.walk(tree)) - for_types(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        for path, tree in trees.items()
    }


@cache
def imports() -> list[tuple[str, str, str]]:
    """(file, its part, imported part) of each import of peftbench in peftbench that is run."""
    found = []
    for path, nodes in parsed().items():
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in nodes:
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [
                    f"{node.module}.{alias.name}" if node.module == "peftbench" else node.module for alias in node.names
                ]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            found += [(str(path), part, name.split(".")[1]) for name in names if name.startswith("peftbench.")]
    return found


def test_imports_point_one_way():
    edges = imports()
    assert len(edges) > 50
    wrong = [
        edge
        for edge in edges
        if edge[1] in RANK
        and edge[2] in RANK
        and edge[1] != edge[2]
        and RANK[edge[1]] >= RANK[edge[2]]
        and edge[1:] not in LOOKED_UP
    ]
    assert not wrong


def module_imports() -> dict[str, set[str]]:
    """Module -> the modules that it imports when it is run."""
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in parsed()}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        nodes = [node for node in parsed()[path] if isinstance(node, ast.ImportFrom)]
        names = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names} | {
            str(node.module) for node in nodes
        }
        graph[module] = names & modules.keys()
    return graph


def test_no_module_imports_itself_through_others():
    graph = module_imports()
    assert "peftbench.spec.cell" in graph["peftbench.spec.recipe"]
    TopologicalSorter(graph).prepare()
    graph["peftbench.spec.cell"].add("peftbench.spec.recipe")
    with pytest.raises(CycleError):
        TopologicalSorter(graph).prepare()


REPORT_ROOMS = ("rows", "evidence", "notes", "formats", "pictures")
"""Facts first: each room may import those before it, and the command line any."""


def test_the_rooms_of_the_report_build_on_each_other_one_way():
    edges = []
    for path in sorted((PACKAGE / "report").rglob("*.py")):
        targets = re.findall(r"^\s*from peftbench\.report\.?(\w*)", path.read_text(), re.MULTILINE)
        edges += [(path.parent.name, target) for target in targets if path.parent.name != "report"]
    assert {room for edge in edges for room in edge} == set(REPORT_ROOMS)
    assert [edge for edge in edges if REPORT_ROOMS.index(edge[0]) < REPORT_ROOMS.index(edge[1])] == []


def test_the_report_knows_records_and_nothing_that_makes_them():
    assert {target for _, part, target in imports() if part == "report"} <= {
        "report", "store", "spec", "registry", "errors", "metrics", "costs", "tasks", "__version__"
    }  # fmt: skip


def test_nothing_but_the_command_line_imports_the_lab():
    assert {part for _, part, target in imports() if target == "lab"} <= {"lab", "cli"}


def test_no_method_imports_another_method():
    for path in (PACKAGE / "methods").glob("*.py"):
        if path.stem in registry.METHODS:
            others = {f"peftbench.methods.{name}" for name in registry.METHODS} - {f"peftbench.methods.{path.stem}"}
            assert not [name for name in others if name in path.read_text()]


@pytest.mark.parametrize("name", registry.METHODS)
def test_each_method_offers_the_protocol(name):
    method, module = registry.method(name), importlib.import_module(registry.METHODS[name])
    assert method.__doc__ == module.__doc__
    assert method.name == name
    for attribute in ("PAPER", "IDENTITY_AT_INIT", "DEAD", "DEFAULTS", "Config", "attach", "added", "merge"):
        assert getattr(method, attribute) is getattr(module, attribute), attribute
    assert method.merge is not None or method.UNMERGEABLE


@pytest.mark.parametrize("group", registry.TASK_GROUPS)
def test_the_tasks_of_a_group_are_those_whose_files_say_so(group):
    assert sorted(registry.GROUP_TASKS[group]) == sorted(expand(group))


@pytest.mark.parametrize("target", sorted(set(registry.FAMILIES.values())))
def test_each_family_can_be_imported(target):
    assert importlib.import_module(target).__doc__


def test_a_wrong_name_is_met_with_the_nearest_one():
    with pytest.raises(MethodError, match="unknown method 'ia'") as caught:
        registry.method("ia")
    assert "did you mean 'ia3'?" in str(caught.value.hint)


def loaded_by(code: str) -> set[str]:
    """Top-level packages in a fresh interpreter after `code`."""
    script = f"import sys\n{code}\nprint(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"torch", "transformers", "datasets", "pandas"}


def test_the_registry_and_recipes_import_nothing_heavy():
    assert not HEAVY & loaded_by("import peftbench.registry, peftbench.spec.recipe, peftbench.store.record")


def test_what_methods_add_is_counted_without_torch():
    code = "import peftbench.methods.base, peftbench.methods.parts.places, peftbench.models.shapes"
    assert not HEAVY & loaded_by(code)


def test_what_is_counted_needs_no_torch():
    code = """
from peftbench.costs import audit, backward, count, memory, published, rule, storage
from peftbench.costs.describe import describe
from peftbench.costs.of_model import Workload, model_costs
for name in ("mini-gpt", "mini-t0", "t5-v1.1-large", "gpt3-175b"):
    assert model_costs(describe(name), Workload(), {}, strict=True).strategies
"""
    assert not HEAVY & loaded_by(code)


def comes_with(module: str, package: str) -> bool:
    """Whether a package is there once a module is imported, in a fork that has neither: torch is imported already."""
    child = fork()
    if not child:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("peftbench", package)]:
            del sys.modules[name]
        try:
            importlib.import_module(module)
        except BaseException:
            os._exit(2)
        os._exit(package in sys.modules)
    code = wait(child)
    assert code in (0, 1), f"{module} cannot be imported"
    return bool(code)


def test_no_run_imports_what_only_verifies():
    for module in ("peftbench.flow.run", "peftbench.costs.of_cell", "peftbench.costs.kernels"):
        assert not comes_with(module, "fvcore")
    assert comes_with("peftbench.costs.graph", "fvcore")


def test_the_check_for_heavy_imports_can_fail():
    assert "pandas" in loaded_by("import pandas")
