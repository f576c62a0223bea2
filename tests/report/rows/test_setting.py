import pytest

from peftbench.cli.options import assignments
from peftbench.report.rows import names
from peftbench.report.rows.setting import typed
from peftbench.report.rows.table import build
from tests.report.records import record

ON = {"lm_loss": 1.0, "unlikelihood_loss": 1.0, "length_norm_loss": 1.0, "lr": 0.1}


def labels(*records):
    (table,) = build(records)
    return [names.label(row) for row in table.rows]


def with_losses(**weights):
    return record("ia3", "mini-t0", training=ON | weights)


def test_losses_are_named_as_in_the_paper():
    some = [with_losses(unlikelihood_loss=ul, length_norm_loss=ln) for ul in (0.0, 1.0) for ln in (0.0, 1.0)]
    assert labels(*some) == ["L_LM", "L_LM + L_LN", "L_LM + L_UL", "L_LM + L_UL + L_LN"]
    (table,) = build(some)
    assert names.settings(table.rows[0]) == "unlikelihood_loss=0, length_norm_loss=0"
    assert names.title(table.rows[1]) == "ia3 (L_LM + L_LN) on mini-t0"


def test_a_loss_that_all_rows_have_is_in_the_sum_and_weights_are_told():
    assert labels(with_losses(length_norm_loss=0.0), with_losses()) == ["L_LM + L_UL", "L_LM + L_UL + L_LN"]
    assert labels(with_losses(lm_loss=0.0), with_losses(unlikelihood_loss=0.5)) == [
        "L_UL + L_LN",
        "L_LM + 0.5 L_UL + L_LN",
    ]


def test_other_settings_stand_after_the_losses():
    assert labels(with_losses(unlikelihood_loss=0.0, lr=0.2), with_losses()) == [
        "L_LM + L_LN, lr=0.2",
        "L_LM + L_UL + L_LN, lr=0.1",
    ]
    # where only the rate differs, the losses go without saying
    assert labels(with_losses(lr=0.2), with_losses()) == ["lr=0.1", "lr=0.2"]


@pytest.mark.parametrize(
    ("config", "label"),
    [
        ({"rank": 4, "layer_norms": True}, "layer_norms=true"),
        ({"rank": 4, "layer_norms": False}, ""),
        ({"r": 8, "bias": "lora_only"}, "bias=lora_only"),
        ({"r": 8, "bias": "none"}, ""),
    ],
)
def test_what_trains_beside_the_method_is_told_of_a_single_row(config, label):
    assert labels(record("lora", "mini-t0", method_config=config)) == [label]


def test_lists_are_written_as_they_are_set():
    some = [record("lora", "mini-t0", method_config={"rank": 4, "roles": roles}) for roles in (["q", "v"], "all")]
    assert labels(*some) == ["roles=all", "roles=q,v"]


def test_rows_are_sorted_by_what_numbers_are_worth():
    some = [record("lora", "mini-t0", method_config={"rank": rank, "alpha": 1e-3 * rank}) for rank in (64, 8, 100, 1)]
    assert labels(*some) == [f"rank={rank}, alpha={1e-3 * rank:g}" for rank in (1, 8, 64, 100)]
    rates = [record("ia3", "mini-t0", training={"lr": lr}) for lr in (3e-3, 1e-5, 0.2)]
    assert labels(*rates) == ["lr=1e-05", "lr=0.003", "lr=0.2"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ([{}], ""),
        (
            [{"method_config": {"rank": 8, "roles": ["q", "v"]}}, {"method_config": {"rank": 4, "roles": "all"}}],
            "8, q,v",
        ),
        ([{"training": ON | {"length_norm_loss": 0.0}}, {"training": ON | {"lr": 0.2}}], "L_LM + L_UL, 0.1"),
        ([{"icl": {"calibrate": True}}, {"icl": {}}], "calibrate"),
        (
            [
                {"method_config": {"places": "all", "reparameterize": False}},
                {"method_config": {"places": "paper", "reparameterize": True}},
            ],
            "all, no reparameterize",
        ),
    ],
)
def test_a_short_label_keeps_what_tells_rows_apart(settings, text):
    method = "ICL" if "icl" in settings[0] else "lora"
    (table,) = build([record(method, "mini-t0", **identity) for identity in settings])
    assert text in [names.short(row) for row in table.rows]


VALUES = (8, 0.1, 1e-5, True, "paper", "true", "0.5", "q,v", "a b", "", " x", "'", "a # b", "inf", "[1]", "2024-01-01")
TABLES = (["q", "v"], [0, 1], [], {"a.b": 4, "c": ["d"]}, [[1], ["x"]])


@pytest.mark.parametrize("value", [*VALUES, *TABLES], ids=repr)
def test_the_command_line_reads_back_what_is_typed(value):
    assert assignments([f"key={typed(value)}"]) == {"key": value}


def test_versions_of_a_draw_tell_rows_apart_only_where_nothing_else_does():
    plain, old = record(), record(icl={"labels": "random"})
    new = record(icl={"labels": "random"}, label_draw_version=2)
    assert labels(plain, new) == ["", "labels=random"]
    assert labels(old, new) == ["", "label_draw_version=2"]


def test_long_system_prompts_are_told_apart_by_a_digest_and_short_ones_are_shown():
    page = "Be kind. " * 50
    rows = [record(scoring={"chat": True, "system": text}) for text in ("Be kind.", f"{page}1", f"{page}2", "x" * 64)]
    shown = labels(*rows)
    assert len(set(shown)) == 4
    assert "system=Be kind., chat=true" in shown
    assert max(map(len, shown)) < 80
