"""Every option of icl is served as it is run here, or refused: none is left out in silence."""

import shutil
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from pydantic import ValidationError

from peftbench.errors import ModelError
from peftbench.flow.run import run
from peftbench.models import source
from peftbench.report.rows.table import build
from peftbench.scoring.encoding import Encoded
from peftbench.served import backbone
from peftbench.spec.cell import Cell, IclOptions, ScoringOptions, TaskSpec
from peftbench.store.results import Store
from tests.models.test_sentence_model import sentence_folder
from tests.served.stub import DIALECTS, FORMS, MODEL, serving
from tests.served.test_served import OPTIONS, cell

TURNS = (
    "{% for turn in messages %}[{{ turn.role }}] {{ turn.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
EMBEDDER = Path("embedder")
# Beside those of `test_served.OPTIONS`.
SERVED = [
    {"icl": {"fit_shots": True}},
    {"icl": {"labels": "random"}},
    {"icl": {"ensemble": "vote"}},
    {"icl": {"calibrate": True, "calibrate_by": "domain"}},
    {"icl": {"calibrate": True, "content_free": ("nothing",)}},
    {"icl": {"select": "embedding", "embedder": EMBEDDER, "pool": 12}},
    {"scoring": {"chat": True, "system": "Be short.", "end": "none"}},
]
REFUSED = [
    {"icl": {"as_prefix": True}},
    {"icl": {"attention": "block", "block_shots": 1}},
    {"icl": {"select": "embedding"}},
    {"scoring": {"answer": "cloze"}},
    {"scoring": {"pll": False}},
]
# Of tuning, served or not.
NO_ICL = ({"scoring": {"answer": "head"}},)


def names(tables):
    """Options as (name, value), and the name alone: of one that is no choice of a few."""
    pairs = [pair for table in tables for part in ("icl", "scoring") for pair in table.get(part, {}).items()]
    return {*pairs, *(name for name, _ in pairs)}


def test_each_option_is_served_or_refused():
    expected = set()
    for model in (IclOptions, ScoringOptions):
        for name, field in model.model_fields.items():
            choices = [part for part in (field.annotation, *get_args(field.annotation)) if get_args(part)]
            values = {value for part in choices for value in get_args(part) if isinstance(value, str)}
            expected |= {(name, value) for value in values if value != field.default} or {name}
    assert len(expected) > 15
    assert expected <= names([*OPTIONS.values(), *SERVED, *REFUSED, *NO_ICL])


@pytest.fixture(scope="module")
def turns(tmp_path_factory):
    """mini-gpt with a template that writes prompts as turns."""
    folder = shutil.copytree(source.find(MODEL), tmp_path_factory.mktemp("turns") / MODEL)
    (folder / "chat_template.jinja").write_text(TURNS)
    return str(folder)


@pytest.mark.parametrize("options", SERVED, ids=str)
def test_served_is_local(options, turns, tmp_path):
    fields = {name: dict(table) for name, table in options.items()}
    if "embedder" in fields.get("icl", {}):
        fields["icl"]["embedder"] = sentence_folder(tmp_path / EMBEDDER)
    made = {"icl": IclOptions(**fields.get("icl", {})), "scoring": ScoringOptions(**fields.get("scoring", {}))}
    shared = {"learner": "icl", "task": TaskSpec(name="lab-hazard"), "shots": 2, "templates": (0,), "limit": 3}
    store = Store(tmp_path / "results")
    with serving("ids", dialect="next-token") as (_, server):
        server = server.model_copy(update={"tokenizer": turns})
        cells = [
            Cell(model=f"served:{MODEL}", server=server, **shared, **made),
            Cell(model=turns, device="cpu", **shared, **made),
        ]
        served, local = (store.read_scores(outcome.record.id) for outcome in run(cells, store))
    pd.testing.assert_frame_equal(served, local, atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", REFUSED, ids=str)
def test_what_is_not_served_is_refused(options):
    with serving("ids") as (_, server), pytest.raises(ValidationError, match="which a server does not give"):
        cell(server, **options)


@pytest.mark.parametrize("form", FORMS)
def test_the_longest_prompt_that_is_allowed_fits_with_what_is_generated(form):
    most = 150
    with serving(form, dialect=DIALECTS[form]) as (stub, server):
        get, pages = stub.get, {"/v1/models": {"data": [{"id": MODEL, "max_model_len": most}]}}
        pages["/props"] = {"default_generation_settings": {"n_ctx": most}}
        stub.get = lambda path: pages.get(path, get(path)) if get(path) else None
        served = backbone.load(f"served:{MODEL}", server)
        num_probed = len(stub.bodies)
        choice = (300, 301)
        prompt = Encoded(tuple(range(5, 5 + served.max_positions - len(choice))), (choice,), (0,))
        list(served.remote.batches([prompt]))
    sent = [body.get("prompt", body.get("input_ids")) for _, body in stub.bodies[num_probed:]]
    lengths = [len(ids) for prompt in sent for ids in (prompt if isinstance(prompt[0], list) else [prompt])]
    assert max(lengths) + 1 == most  # as vLLM refuses one more


@pytest.mark.parametrize("before", ["/", "/get_"])
def test_sglang_is_known_by_its_pages_as_they_are_called_now_and_as_they_were(before):
    with serving("sglang") as (stub, server):
        get = stub.get
        pages = {f"{before}model_info": {"model_path": MODEL}, f"{before}server_info": {"version": "0.5.23"}}
        stub.get = lambda path: pages.get(path) if path.endswith("_info") else get(path)
        description = backbone.load(f"served:{MODEL}", server).remote.probed.description
    assert (description.kind, description.version) == ("sglang", "0.5.23")


def test_a_size_that_a_server_does_not_say_is_absent_and_not_0(tmp_path):
    with serving("ids") as (stub, server):
        get = stub.get
        stub.get = lambda path: {"data": [{"id": MODEL}]} if path == "/v1/models" else get(path)
        (outcome,) = run([cell(server)], Store(tmp_path))
    assert outcome.record.model.num_parameters is None
    (known,) = run([cell()], Store(tmp_path))
    (served,) = build([outcome.record])
    assert served.rows[0].num_parameters is None
    assert known.record.model.num_parameters == 1_541_760
    assert all(cost.value is None for cost in outcome.record.costs if cost.name == "inference_flops_per_example")


def test_more_shots_than_the_servers_context_holds_are_refused_before_a_prompt_is_sent(tmp_path):
    with serving("bias") as (stub, server):
        backbone.load(f"served:{MODEL}", server)
        num_probed = stub.requests
        with pytest.raises(ModelError, match="and 'served:mini-gpt' takes 1,024") as error:
            list(run([cell(server, shots=64)], Store(tmp_path)))
        assert "--fit-shots" in error.value.hint
        assert stub.requests == 2 * num_probed
        (outcome,) = run([cell(server, shots=64, icl={"fit_shots": True})], Store(tmp_path))
        assert 0 < outcome.record.learned.num_shots < 64
