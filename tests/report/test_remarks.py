from peftbench.report import remarks
from peftbench.report.document import compose
from peftbench.report.table import build
from tests.report.records import record


def table(*records):
    return build(records)[0]


def test_unequal_models_are_named_with_the_commands_for_the_same_model():
    (note,) = remarks.cautions(table(record(), record("ia3", "mini-t0")))
    assert "mini-t0 3.69M, mini-gpt 2.81M" in note
    assert "`peftbench icl --model mini-t0 --shots 32 --task nli`" in note
    assert "`peftbench tune --model mini-gpt --method ia3 --task nli`" in note


def test_the_same_model_both_ways_needs_no_caution():
    assert not list(remarks.cautions(table(record("ICL", "mini-t0"), record("ia3", "mini-t0"))))


def test_unequal_numbers_of_seeds_are_said_but_zero_shot_is_exempt():
    zero, first, second = record(shots=0), record(), record(seed=1)
    assert not list(remarks.cautions(table(zero, first, second)))
    (note, *_) = remarks.cautions(table(zero, first, second, record("ia3", "mini-gpt")))
    assert "different numbers of seeds" in note


def test_cut_inputs_and_missing_shots_are_said():
    cut = record(used=20).model_copy(update={"work": {"cut_tokens": 1234}})
    notes = list(remarks.cautions(table(cut)))
    assert "ICL on mini-gpt: 20 of 32 shots, as many as fit the model's positions" in notes
    assert "ICL on mini-gpt: 1,234 input tokens were cut (--max-input-tokens)" in notes


def test_each_convention_stands_once_with_its_kind():
    document = compose([record("ia3", "mini-t0"), record("ia3", "mini-t0", seed=1)])
    assert document.conventions.count("training FLOPs: ~ estimated; c") == 1
