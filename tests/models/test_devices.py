"""A model that is spread over devices: the same scores and the same training, everything where it is used."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from peftbench import registry
from peftbench.adapters.side_by_side import SideBySide
from peftbench.errors import MethodError, ModelError
from peftbench.learners import tune
from peftbench.learners.shots_as_prefix import _keys_and_values
from peftbench.models import devices
from peftbench.models.load import load
from peftbench.scoring.score import score
from peftbench.selection.embedding import embedder_of
from peftbench.spec import packages
from peftbench.spec.cell import Scoring, Training
from tests.adapters.test_side_by_side import save_random
from tests.scoring.prompts import prompts
from tests.tiny import tiny_backbone, tiny_folder
from tests.two_devices import FIRST, SECOND, Apart, halves, leaves, spread

pytest.importorskip("accelerate")

# Defaults for models of millions: here as many numbers would be half of the model.
SMALL = {
    "intrinsic_said": {"intrinsic_dimension": 60},
    "intrinsic_dimension": {"intrinsic_dimension": 40},
    "fishmask": {"keep_ratio": 0.1},
    "diff_pruning": {"target_ratio": 0.1},
}
# Settings by which layers share something, or the shots are looked at before the first step.
SHARING = [("prefix_tuning", {"reparameterize": True, "hidden_size": 5}), ("prompt_tuning", {"init": "labels"})]
CASES = [("t5", name, SMALL.get(name, {})) for name in registry.METHODS]
CASES += [(family, *case) for family in ("t5", "gpt2") for case in SHARING]
CASES += [("gpt2", name, SMALL.get(name, {})) for name in ("compacter", "diff_pruning", "full", "lora", "p_tuning")]
EXAMPLES = prompts(2, num_shots=1)


def learned(backbone, name, settings, caches=(True,)):
    """Tune by one step, score, and return all that came out; the backbone is as before."""
    method = registry.method(name)
    training = Training(**{**method.DEFAULTS, "num_steps": 1, "batch_size": 2})
    tuning = tune.Tuning(name, method.Config(**settings), training, [[example] for example in EXAMPLES])
    rule = Scoring(end="eos")
    try:
        predictor = tune.learn(tuning, backbone, rule)
        tensors = backbone.tensors_named(predictor.names)
        stands = {name: tensor.device for name, tensor in tensors.items()}
        values = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        scores = [score(backbone, EXAMPLES, rule.model_copy(update={"cache": cache})) for cache in caches]
        return SimpleNamespace(log=predictor.log, values=values, stands=stands, choices=[s.choices for s in scores])
    finally:
        backbone.detach_all()


@pytest.fixture(scope="module", params=["gpt2", "t5"])
def pair(request):
    """The model as it is, and the same with a hook of accelerate's around each layer."""
    plain, hooked = (tiny_backbone(request.param) for _ in range(2))
    layers = [layer.module for layer in hooked.layers()]
    placement = dict.fromkeys(leaves(hooked.model, layers), FIRST)
    devices.dispatch(hooked.model, placement, force_hooks=True)
    assert all(hasattr(hooked.model.get_submodule(name), "_hf_hook") for name in layers)
    return plain, hooked


@pytest.mark.parametrize("name", registry.METHODS)
def test_hooks_change_no_score_and_no_training(pair, name):
    plain, hooked = (learned(backbone, name, SMALL.get(name, {})) for backbone in pair)
    assert hooked.log == plain.log
    assert hooked.choices == plain.choices
    assert plain.values.keys() == hooked.values.keys()
    assert all(torch.equal(value, hooked.values[full]) for full, value in plain.values.items())


def test_hooks_are_there_after_frozen_layers_were_skipped(pair):
    _, hooked = pair
    learned(hooked, "top_layers", {})
    last = hooked.model.get_submodule(hooked.layers()[-1].module)
    assert vars(last)["forward"].func.__name__ != "hand_on"
    assert vars(hooked.model.get_submodule(hooked.layers()[0].module))["forward"].__wrapped__


@pytest.mark.parametrize(("family", "name", "settings"), CASES, ids=str)
def test_no_operator_reads_two_devices(family, name, settings):
    with spread(tiny_backbone(family)) as backbone:
        assert backbone.devices == (FIRST, SECOND)
        assert backbone.device == FIRST
        result = learned(backbone, name, settings)
    for full, device in result.stands.items():
        is_shared = full.endswith(("down.A", "up.A"))  # compacter's, of all layers
        assert is_shared or device == base_device(backbone, full), full


def base_device(backbone, name):
    """Where the model's own weights are that a tensor was put to; of the whole model, where its embeddings are."""
    modules = dict(backbone.model.named_modules())
    while name not in modules:
        name = name.rpartition(".")[0]
    return devices.of(modules[name], FIRST) if name else backbone.device


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama", "bart", "bloom"])
def test_families_score_over_two_devices_with_a_cache_and_without(family):
    with spread(tiny_backbone(family)) as backbone:
        learned(backbone, "ia3", {}, [True, False])


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_texts_are_embedded_over_two_devices(family):
    with spread(tiny_backbone(family)) as backbone:
        assert embedder_of(backbone).pooled([[5, 6, 7], [8, 9]]).shape == (2, backbone.sizes.d_model)


def test_shots_become_a_prefix_over_two_devices():
    with spread(tiny_backbone("gpt2")) as backbone:
        tensors = _keys_and_values(backbone, [5, 6, 7])
    assert {tensor.device for tensor in tensors.values()} == {FIRST, SECOND}


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_adapters_stand_side_by_side_over_two_devices(family, tmp_path):
    kinds = [("ia3", {}), ("lora", {}), ("compacter", {}), ("prefix_tuning", {}), ("prompt_tuning", {}), ("bitfit", {})]
    plain = tiny_backbone(family)
    folders = [save_random(plain, tmp_path / name, name, settings, 0) for name, settings in kinds]
    with spread(tiny_backbone(family)) as backbone:
        adapters = SideBySide(backbone, folders).assigned([0, 1, 2, 3, 4, 5])
        score(backbone, prompts(6, num_shots=0), Scoring(end="eos"), row_adapters=adapters)


def test_the_fake_devices_refuse_what_gpus_do():
    near, far = torch.ones(2), torch.ones(2, device=SECOND)
    with Apart():
        with pytest.raises(RuntimeError, match="two devices"):
            near + far
        assert (near.to(SECOND) + far).device == SECOND
        assert (near + far.to(FIRST)).tolist() == [2.0, 2.0]


def test_the_record_names_all_devices():
    backbone = tiny_backbone("gpt2")
    assert backbone.facts["device"] == "cpu"
    with spread(backbone):
        assert backbone.facts["device"] == "cpu, meta"


# --- maps


def map_of(family):
    return dict.fromkeys(halves(tiny_backbone(family)), "cpu")


def written(folder, table):
    path = folder / "map.json"
    path.write_text(json.dumps(table))
    return str(path)


@pytest.mark.parametrize("family", ["gpt2", "t5", "bart", "bloom"])
@pytest.mark.parametrize("kind", ["auto", "balanced", "file"])
def test_a_map_of_one_device_gives_the_plain_scores(family, kind, tmp_path):
    folder = tiny_folder(family, tmp_path / "model")
    device_map = written(tmp_path, map_of(family)) if kind == "file" else kind
    backbones = [load(str(folder), device="cpu"), load(str(folder), device_map=device_map)]
    plain, mapped = (score(backbone, EXAMPLES, Scoring(end="eos")).choices for backbone in backbones)
    assert mapped == plain
    assert backbones[1].facts == backbones[0].facts


def refused(tmp_path, change, family="gpt2"):
    folder = tiny_folder(family, tmp_path / "model")
    table = map_of(family)
    change(table)
    with pytest.raises(ModelError) as caught:
        load(str(folder), device_map=written(tmp_path, table))
    return str(caught.value)


def test_a_layer_stands_on_one_device(tmp_path):
    text = refused(tmp_path, lambda table: table.update({"transformer.h.0.mlp": "cpu"}))
    assert "'transformer.h.0.mlp' is a part of 'transformer.h.0'" in text


@pytest.mark.parametrize(("device", "shown"), [("disk", "disk"), (0, "cpu"), ("cuda:1", "cpu")])
def test_offloading_is_refused(tmp_path, device, shown):
    text = refused(tmp_path, lambda table: table.update({"transformer.h.1": device}))
    assert f"modules on '{shown}' are fetched for each use" in text


def test_a_map_with_several_faults_is_told_all(tmp_path):
    def change(table):
        table.pop("transformer.ln_f")
        table |= {"nothing": "cpu", "transformer.h.0.attn": "cpu"}

    text = refused(tmp_path, change)
    assert "no module 'nothing'" in text
    assert "part of 'transformer.h.0'" in text
    assert "places 2 tensors nowhere: transformer.ln_f.weight" in text


@pytest.mark.parametrize("device", ["nowhere", {"a": 1}, None, -1, "cuda:99", "cuda:99999999999"])
def test_a_device_that_is_none_is_refused(tmp_path, device):
    text = refused(tmp_path, lambda table: table.update(dict.fromkeys(table, device)))
    assert "cannot be used" in text
    assert "\n" not in text


def test_what_is_added_up_stands_together():
    backbone = tiny_backbone("gpt2")
    placement = halves(backbone) | {"transformer.wpe": SECOND}
    assert list(devices._of_neighbours(placement, backbone.model, backbone.layers())) == [
        "'transformer.wpe' and 'transformer.wte' stand on two devices"
    ]
    tied = halves(backbone) | {"lm_head": SECOND}
    assert list(devices._of_neighbours(tied, backbone.model, backbone.layers())) == [
        "'lm_head' and 'transformer.wte' stand on two devices"
    ]
    assert not list(devices._of_neighbours(halves(backbone), backbone.model, backbone.layers()))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"": {"": {"": 1}}}'])
def test_a_damaged_map_is_one_line(tmp_path, text):
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(ModelError):
        load("mini-gpt", device_map=str(path))


def test_a_map_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        load("mini-gpt", device_map=str(tmp_path / "nowhere.json"))


def test_what_does_not_fit_the_gpus_is_refused(monkeypatch):
    monkeypatch.setattr(devices, "_inferred", lambda model: {"transformer.wte": 0, "transformer.h": "cpu"})
    with pytest.raises(ModelError, match="does not fit the GPUs: --device-map auto leaves parts to the cpu"):
        devices.plan("auto", tiny_backbone("gpt2").model, ())


def test_a_large_model_goes_onto_gpus_in_turn():
    """accelerate is asked with room for one layer each, as if there were four GPUs."""
    from accelerate.utils import infer_auto_device_map

    backbone = tiny_backbone("t5")
    size = sum(p.numel() * p.element_size() for p in backbone.model.parameters())
    table = infer_auto_device_map(
        backbone.model,
        max_memory=dict.fromkeys(range(4), size // 2),
        no_split_module_classes=sorted(backbone.model._no_split_modules),
    )
    layers = backbone.layers()
    assert len(set(table.values())) > 1
    assert not list(devices._of_names(table, backbone.model, layers))


def test_a_device_beside_a_map_is_refused():
    with pytest.raises(ModelError, match="--device cpu and --device-map auto both say where"):
        load("mini-gpt", device="cpu", device_map="auto")


@pytest.mark.parametrize(("value", "is_refused"), [("4", True), ("1", False), ("0", False), ("", False)])
def test_many_processes_are_refused(monkeypatch, value, is_refused):
    monkeypatch.setenv("WORLD_SIZE", value)
    if not is_refused:
        devices.check("auto", "auto")
        return
    with pytest.raises(ModelError, match="WORLD_SIZE=4 is set: each of so many processes"):
        devices.check("auto", "auto")


def test_without_accelerate_it_is_one_line(monkeypatch):
    def missing(name):
        raise packages.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.importlib.metadata, "version", missing)
    with pytest.raises(MethodError, match="--device-map auto needs the package accelerate") as caught:
        devices.check("auto", "auto")
    assert caught.value.hint == "pip install 'peftbench[devices]'"


def test_a_module_without_weights_stands_where_it_is_told():
    assert devices.of(nn.Identity(), SECOND) == SECOND


# --- with GPUs


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", registry.METHODS)
@pytest.mark.parametrize("model", ["mini-gpt", "mini-t0"])
def test_over_cpu_and_gpu_it_is_the_plain_run(model, name):
    """Hooks on both, nothing is offloaded: two devices, where there is one GPU."""
    plain, spread_out = load(model, device="cpu"), load(model, device="cpu")
    gpu = torch.device("cuda", 0)
    placement = {module: gpu if device == SECOND else FIRST for module, device in halves(spread_out).items()}
    move(spread_out.model, placement)
    assert_near(learned(spread_out, name, {}), learned(plain, name, {}))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs CUDA: two GPUs")
@pytest.mark.parametrize("name", registry.METHODS)
@pytest.mark.parametrize("model", ["mini-gpt", "mini-t0"])
def test_over_two_gpus_it_is_the_plain_run(model, name, tmp_path):
    plain = load(model, device="cuda:0")
    placement = {module: int(device == SECOND) for module, device in halves(plain).items()}
    mapped = load(model, device_map=written(tmp_path, placement))
    assert mapped.device_names == "cuda:0, cuda:1"
    assert_near(learned(mapped, name, {}), learned(plain, name, {}))


def move(model, placement):
    """Put hooks there that move inputs alone: dispatching would offload what is on the CPU."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    for name, device in placement.items():
        module = model.get_submodule(name)
        module.to(device)
        hook = AlignDevicesHook(execution_device=device, skip_keys=model._skip_keys_device_placement)
        add_hook_to_module(module, hook)


def assert_near(result, expected):
    for choices, others in zip(result.choices, expected.choices, strict=True):
        for scored, reference in zip(choices, others, strict=True):
            found = [score.log_prob for score in scored]
            assert found == pytest.approx([score.log_prob for score in reference], abs=1e-3)
