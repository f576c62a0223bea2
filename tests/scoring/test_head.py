"""A classification layer in the place of an encoder's head: what it computes, learns, costs, and leaves behind."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from peftbench import registry
from peftbench.adapters import merged, saved, starts
from peftbench.costs.backward import training_flops
from peftbench.costs.count import Query, forward_flops
from peftbench.costs.kernels import kernel_flops
from peftbench.errors import MethodError, ModelError
from peftbench.flow import run as flow
from peftbench.learners import tune
from peftbench.methods.stages import Stages
from peftbench.models.load import load
from peftbench.scoring import head
from peftbench.scoring.encoding import encode
from peftbench.scoring.forward import choice_log_probs
from peftbench.scoring.ranking import predict
from peftbench.scoring.score import score
from peftbench.spec.cell import Cell, Scoring, TaskSpec, Training
from peftbench.store.results import Store
from tests.learners.toy import RAGGED, ROWS, TEMPLATE
from tests.row_files import write
from tests.scoring.prompts import example
from tests.tiny import ENCODERS, tiny_backbone, tiny_folder, tiny_tokenizer

HEAD = Scoring(end="none", answer="head")
TEXTS = ["the premise says yes", "no", "the question is true or false"]
CLASSES = ("good", "bad", "neither of them")
PROJECTIONS = ("intrinsic_said", "intrinsic_dimension")


@pytest.fixture(scope="module")
def headless(tmp_path_factory):
    """A tiny BERT as sentence-transformers saves it: with a pooler, which is not read, and nothing that fills masks."""
    path, tokenizer = tmp_path_factory.mktemp("models") / "headless", tiny_tokenizer("bert")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
            max_position_embeddings=64,
        )  # fmt: skip
        BertModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return path


def learn(backbone, method="lora", templates=(TEMPLATE,), **settings):
    table = {"num_steps": 40, "batch_size": 4, "lr": 0.02, "scale_parameter": False, "unlikelihood_loss": 0}
    training = Training(**table | {"length_norm_loss": 0} | settings)
    examples = [[template.render(row) for template in templates] for row in ROWS[:6]]
    return tune.learn(tune.Tuning(method, registry.method(method).Config(), training, examples), backbone, HEAD)


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_classes_have_the_softmax_of_the_layer_on_the_state_of_each_text_alone(family, pooling):
    backbone = tiny_backbone(family)
    backbone.pooling = pooling
    backbone.set_classes(len(CLASSES))
    layer = backbone.model.class_head
    for text, choices in zip(
        TEXTS, score(backbone, [example(text, CLASSES) for text in TEXTS], HEAD).choices, strict=True
    ):
        ids = backbone.tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            states = backbone.model.base_model(ids).last_hidden_state[0]
            pooled = states[0] if pooling == "first" else states.mean(0)
            expected = (layer.W @ pooled + layer.b).log_softmax(0)
        assert [choice.log_prob for choice in choices] == pytest.approx(expected.tolist(), abs=1e-5)
        assert {choice.num_tokens for choice in choices} == {1}


def test_a_place_for_the_answer_is_no_part_of_the_text():
    backbone = tiny_backbone("bert")
    marked, bare = encode(
        backbone, [example(text, CLASSES) for text in ("it does [[answer]]. no", "it does . no")], HEAD
    )
    assert marked.context == bare.context


def test_a_model_without_a_head_is_loaded_to_be_classified_and_fills_no_mask(headless):
    backbone = load(str(headless), device="cpu")
    reference = BertModel.from_pretrained(headless, add_pooling_layer=False)
    assert (backbone.has_head, backbone.pooling) == (False, "mean")
    assert backbone.num_parameters == sum(parameter.numel() for parameter in reference.parameters())
    with pytest.raises(ModelError, match="has no head that fills masks") as caught:
        score(backbone, [example("the premise", ("yes", "no"))], Scoring(end="none"))
    assert "--answer head" in caught.value.hint
    examples = [TEMPLATE.render(row) for row in ROWS[:6]]
    found = [predict(choices) for choices in learn(backbone).score(examples).choices]
    assert found == [row.label for row in ROWS[:6]]


def test_half_of_a_head_is_damage(tmp_path):
    path = tiny_folder("bert", tmp_path / "model")
    tensors = load_file(path / "model.safetensors")
    tensors.pop("cls.predictions.transform.dense.weight")
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing: cls\.predictions\.transform\.dense\.weight"):
        load(str(path), device="cpu")


@pytest.mark.parametrize("method", ["lora", "full", "p_tuning"])
def test_the_layer_is_trained_and_saved_beside_the_method_and_counted_apart(method, tmp_path):
    backbone = tiny_backbone("bert")
    names = registry.method(method).attach(backbone, registry.method(method).Config())
    own = sum(value.numel() for value in backbone.parameters_named(names).values())
    backbone.detach_all()
    predictor = learn(backbone, method, num_steps=4)
    assert predictor.num_head_parameters == 2 * 16 + 2
    of_head = sum(p.numel() for n, p in backbone.model.named_parameters() if n.startswith("cls."))
    assert of_head == 0
    unused = 16 * 16 + 3 * 16 + backbone.sizes.vocab_size  # of the head that fills masks
    assert predictor.num_trained_parameters == own - (unused if method == "full" else 0)
    assert predictor.num_unreached_parameters == (2 * 16 if method == "full" else 0)  # biases on keys: no gradient
    examples = [TEMPLATE.render(row) for row in ROWS]
    before = predictor.score(examples).choices
    config = registry.method(method).Config()
    folder = saved.save(tmp_path / "a", backbone, method, config, predictor.names)
    backbone.detach_all()
    assert saved.load(folder, backbone) == predictor.names
    assert score(backbone, examples, HEAD).choices == before
    backbone.detach_all()
    assert backbone.sizes == tiny_backbone("bert").sizes
    assert score(backbone, examples, Scoring(end="none")).choices  # its own head is back
    if method == "lora":
        with pytest.raises(MethodError, match="no place for the classification layer"):
            merged.merge(folder, backbone, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("method", [name for name in registry.METHODS if name not in PROJECTIONS])
def test_training_with_the_layer_costs_what_is_traced(method):
    backbone, module = tiny_backbone("bert"), registry.method(method)
    names = backbone.set_classes(len(CLASSES))
    names = dict.fromkeys([*module.attach(backbone, module.Config()), *names])
    backbone.train_only(names)
    (encoded,) = encode(backbone, [example(TEXTS[0], CLASSES)], HEAD)
    query = Query(0, len(encoded.context), (0,) * len(CLASSES))
    tuning = tune.Tuning(method, module.Config(), Training(), [])
    added = tune.added(tuning, backbone.sizes, module.added(backbone.sizes, module.Config()))

    def step():
        loss = -choice_log_probs(backbone, [encoded])[0][0, 0].sum()
        penalty = module.penalty(backbone, module.Config())
        (loss if penalty is None else loss + penalty).backward()

    assert kernel_flops(step) == training_flops(backbone.sizes, {query: 1}, 1, added)
    if module.prunes:  # what is left of it is another matter
        return
    Stages(module, backbone, module.Config(), list(names)).finish()
    with torch.no_grad():
        forward = kernel_flops(lambda: choice_log_probs(backbone, [encoded]))
    assert forward == forward_flops(backbone.sizes, query, added, merged=False)


def test_a_start_brings_the_method_and_not_the_layer_of_other_classes(tmp_path):
    backbone = tiny_backbone("bert")
    predictor = learn(backbone, num_steps=4)
    config = registry.method("lora").Config()
    folder = saved.save(tmp_path / "a", backbone, "lora", config, predictor.names)
    a = backbone.model.get_parameter(predictor.names[0]).detach().clone()
    backbone.detach_all()
    three = [[replace(TEMPLATE.render(row), choices=CLASSES)] for row in ROWS[:6]]
    training = Training(num_steps=0, unlikelihood_loss=0, length_norm_loss=0)
    tuning = tune.Tuning("lora", config, training, three, start=starts.read(folder))
    learned = tune.learn(tuning, backbone, HEAD)
    assert learned.num_head_parameters == 3 * 16 + 3
    assert torch.equal(backbone.model.get_parameter(learned.names[0]), a)


def test_rows_with_choices_of_their_own_have_no_classes():
    backbone = tiny_backbone("bert")
    with pytest.raises(ModelError, match="rows have choices of their own") as caught:
        learn(backbone, templates=(RAGGED,))
    assert "--answer cloze" in caught.value.hint
    assert head.num_classes([[TEMPLATE.render(row)] for row in ROWS]) == 2
    backbone.set_classes(3)
    with pytest.raises(ModelError, match="2 answer choices, and the layer on the pooled state 3 classes"):
        encode(backbone, [TEMPLATE.render(ROWS[0])], HEAD)


def cell(folder, tmp_path, **more):
    rows = [{"text": f"the {word} is", "label": ("good", "bad")[n % 2]} for n, word in enumerate("abcdefgh")]
    task = TaskSpec(
        name="mine",
        train=write(tmp_path / "train.jsonl", rows),
        test=write(tmp_path / "test.jsonl", rows),
        template="{{text}} ||| {{label}}",
        choices=("good", "bad"),
    )
    table = {"learner": "tune", "method": "lora", "shots": 4, "training": {"num_steps": 2, "batch_size": 2}}
    return Cell(**{"model": str(folder), "task": task, **table, **more})


def test_a_record_says_how_it_answers_and_what_is_trained_beside_the_method(headless, tmp_path):
    store = Store(tmp_path / "results")
    (made,) = flow.run([cell(headless, tmp_path, scoring={"answer": "head"})], store)
    record = made.record
    assert record.identity["scoring"]["answer"] == "head"
    assert record.learned.num_head_parameters == 34
    assert record.learned.training["length_norm_loss"] == record.learned.training["unlikelihood_loss"] == 0
    tensor_bytes = record.cost("tensor_bytes", "measured").value
    assert tensor_bytes == 4 * (record.learned.num_saved_parameters + record.learned.num_head_parameters)
    by_pass = record.cost("learning_flops", "counted").value
    assert by_pass >= record.cost("training_flops", "counted").value > 0


def test_a_cloze_is_tuned_on_its_right_answers_alone_and_recorded(tmp_path):
    folder = tiny_folder("bert", tmp_path / "bert")
    cells = [cell(folder, tmp_path, learner="icl", method=None, shots=0, training={})]
    cells.append(cell(folder, tmp_path, training={"num_steps": 2, "unlikelihood_loss": 0, "length_norm_loss": 0}))
    zero_shot, tuned = (made.record for made in flow.run(cells, Store(tmp_path / "results")))
    assert zero_shot.identity["scoring"]["answer"] == tuned.identity["scoring"]["answer"] == "cloze"
    assert tuned.learned.num_head_parameters is None
    assert tuned.cost("cached_inference_flops_per_example", "counted") is None


def test_what_trains_nothing_has_no_layer(tmp_path):
    with pytest.raises(ValueError, match="icl trains nothing"):
        cell("model", tmp_path, learner="icl", method=None, shots=0, training={}, scoring={"answer": "head"})
