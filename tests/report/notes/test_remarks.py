import pytest

from peftbench.report.notes import remarks
from peftbench.report.notes.document import compose
from peftbench.report.rows import names
from peftbench.report.rows.table import build
from peftbench.spec.cell import TaskSpec
from peftbench.store.record import StartingPoint, Sweep, SweepPoint
from peftbench.tasks.group import mix
from peftbench.tasks.load import load
from tests.report.records import record, under
from tests.report.stored import folded


def table(*records):
    return build(records)[0]


def test_unequal_models_are_named_with_the_commands_for_the_same_model():
    (note,) = remarks.cautions(table(record(), record("ia3", "mini-t0")))
    assert "mini-t0 3.69M, mini-gpt 2.81M" in note
    assert "`peftbench icl --model mini-t0 --shots 32 --task PATH/nli.toml`" in note
    assert "`peftbench tune --model mini-gpt --method ia3 --task PATH/nli.toml`" in note


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


def test_blocks_of_shots_are_marked_in_the_row_and_said_to_be_an_approximation():
    made = table(record(icl={"attention": "block", "block_shots": 8}), record(seed=1))
    (note, *_) = remarks.cautions(made)
    assert names.title(made.rows[0] if made.rows[0].settings else made.rows[1]) in note
    assert "attention=block" in note
    assert "an approximation: blocks of 8 shots do not see each other" in note
    alone = table(record(icl={"attention": "block", "block_shots": 8}))
    assert names.label(alone.rows[0]) == "attention=block"


def test_each_convention_stands_once_with_its_kind():
    document = compose([record("ia3", "mini-t0"), record("ia3", "mini-t0", seed=1)])
    assert document.conventions.count("training FLOPs: ~ estimated; c") == 1


def test_where_one_kind_was_counted_in_two_ways_each_says_whose():
    old = record("ia3", "mini-t0")
    new = record("lora", "mini-t0")
    renamed = [cost.model_copy(update={"convention": "another"}) for cost in new.costs]
    found = compose([old, new.model_copy(update={"costs": renamed})]).conventions
    assert {"training FLOPs of ia3: ~ estimated; c", "training FLOPs of lora: ~ estimated; another"} < set(found)


def learned(made, **numbers):
    return made.model_copy(update={"learned": made.learned.model_copy(update=numbers)})


def test_parameters_without_a_gradient_are_counted_under_the_table():
    made = record("ia3", "mini-t0")
    reached, unreached = (learned(made, num_unreached_parameters=number) for number in (0, 96))
    assert list(remarks.cautions(table(reached))) == list(remarks.cautions(table(made))) == []
    (note,) = remarks.cautions(table(unreached))
    assert (
        note == "ia3 on mini-t0: 96 of 6,144 trained parameters are in tensors that no training step had a gradient for"
    )
    worst = learned(unreached, num_unreached_parameters=128).model_copy(update={"seed": 1})
    assert next(iter(remarks.cautions(table(unreached, worst)))).startswith("ia3 on mini-t0: 128 of 6,144")


def test_parameters_that_are_not_kept_are_counted_under_the_table():
    made = record("prefix_tuning", "mini-t0")
    assert not list(remarks.cautions(table(learned(made, num_saved_parameters=6144))))
    (note,) = remarks.cautions(table(learned(made, num_saved_parameters=768)))
    assert note == "prefix_tuning on mini-t0: 768 parameters are kept and used after training, 6,144 were trained"


def test_what_training_flops_hold_and_leave_out_is_said():
    made = record("ia3", "mini-t0")
    point = SweepPoint(lr=0.1, accuracy=0.5, loss=1.0)
    begun = learned(made, start_from=StartingPoint(path="results/adapters/0f", sha256="ab", model="mini-t0"))
    swept = learned(made, sweep=Sweep(lr=0.1, trials=[point], num_folds=2, num_steps=9, num_held_out=32))
    (note,) = remarks.cautions(table(begun))
    assert note.endswith("started from 'results/adapters/0f'; what it took to train that is not in its training FLOPs")
    (note,) = remarks.cautions(table(swept))
    assert note == "ia3 on mini-t0: the search for the learning rate is in its training FLOPs"


def mixed(*lengths):
    """A record of two tasks mixed; its templates ask unlike rows."""
    made = record("ia3", "mini-t0", "lab-train")
    names = ("news: which", "news: about", "yes-no: is it")
    results = [
        made.results[0].model_copy(
            update={
                "template": k,
                "name": name,
                "num_examples": n,
                "num_correct": {"token": n // 2},
                "right": "10" * (n // 2),
            }
        )
        for k, (name, n) in enumerate(zip(names, lengths, strict=True))
    ]
    task = made.task.model_copy(update={"family": mix("m", [load(TaskSpec(name="lab-topic"))]).family})
    return made.model_copy(update={"results": results, "task": task})


@pytest.mark.parametrize("lengths", [(40, 40, 40), (40, 40, 20)])
def test_a_mixture_has_no_interval_and_says_why(lengths):
    document = compose([mixed(*lengths)])
    (row,) = document.tables[0].rows
    assert (row.interval, row.num_examples, document.tables[0].is_mixture) == (None, 40 + lengths[2], True)
    reason = "95 % interval: n/a because a mixture's examples are of several tasks, each under the templates of its own"
    assert reason in document.conventions
    assert not any("cluster bootstrap" in text for text in document.conventions)


def test_rows_that_are_right_throughout_have_no_interval_and_say_why():
    made = record("ICL", correct=(300,))
    results = [made.results[0].model_copy(update={"right": "1" * 300})]
    (reason,) = [text for text in compose([made.model_copy(update={"results": results})]).conventions if "95 %" in text]
    assert reason == "95 % interval: n/a because all examples weigh the same, so that drawing them again shows nothing"


def counted(made, *, predicted, labelled):
    """The record with these counts of answers, under each of its templates."""
    results = [
        result.model_copy(update={"num_predicted": list(counts), "num_labelled": list(labelled)})
        for result, counts in zip(made.results, predicted, strict=True)
    ]
    return made.model_copy(update={"results": results})


def test_rows_that_answer_one_choice_are_told_and_under_how_many_prompts():
    stuck = counted(record(), predicted=[(294, 6), (293, 7)], labelled=(150, 150))
    free = counted(record(seed=1), predicted=[(150, 150), (0, 300)], labelled=(150, 150))
    (note,) = remarks.cautions(table(stuck, free))
    assert note.startswith("ICL on mini-gpt: one and the same answer to 98 % of the examples or more")
    assert note.endswith(" under 2 of 4 tasks x templates x seeds")
    assert not list(remarks.cautions(table(record())))  # of before, which do not say it


def test_the_most_frequent_answer_is_told_where_it_is_more_than_chance():
    uneven = counted(record(), predicted=[(150, 150)] * 2, labelled=(216, 84))
    (note,) = remarks.cautions(table(uneven))
    assert note == "always the most frequent answer: accuracy 72.0 on nli"
    assert not list(remarks.cautions(table(counted(record(), predicted=[(150, 150)] * 2, labelled=(150, 150)))))


def labelled(metric, task, **facts):
    """A record under a metric, with the counts of its labels."""
    made = under(metric, record(task=task, **facts))
    return counted(made, predicted=[(294, 6)] * 2, labelled=(216, 84))


def test_the_most_frequent_answer_is_told_of_every_other_metric():
    """By hand: F1 of the larger class is 2 x 216 / (300 + 216), of the other 0."""
    values = {"macro_f1": 100 * 432 / 516 / 2, "matthews": 0.0}
    for metric, value in values.items():
        made = table(labelled(metric, "a"), labelled(metric, "b"))
        (note,) = [text for text in remarks.cautions(made) if text.startswith("always")]
        of_task = f"{value:.1f} (accuracy 72.0, by guessing 50.0)"
        assert note == f"always the most frequent answer: {made.metric.title} {of_task} on a, {of_task} on b"
        assert not [text for text in remarks.cautions(table(under(metric, record()))) if "always" in text]


def test_notes_under_several_tables_say_of_which_they_are():
    alike = "one and the same answer to 98 % of the examples or more"
    stuck = f"ICL on mini-gpt: {alike} under 2 of 2 tasks x templates x seeds"
    findings = compose([labelled("accuracy", "a"), labelled("macro_f1", "b")]).findings
    assert [text for text in findings if "one and the same" in text] == [f"a: {stuck}", f"b: {stuck}"]
    assert [text for text in compose([labelled("accuracy", "a")]).findings if "one and the same" in text] == [stuck]
    many = [labelled("accuracy", f"t{number}") for number in range(5)]
    assert (
        f"t0 and 4 more tasks: {stuck.replace('2 of 2', '10 of 10')}"
        in compose([*many, labelled("matthews", "b")]).findings
    )


def test_rows_that_differ_in_their_shots_alone_are_named_with_them():
    made = table(labelled("accuracy", "a"), labelled("accuracy", "a", shots=4))
    heads = [text.partition(":")[0] for text in remarks.cautions(made) if "one and the same" in text]
    assert heads == ["ICL on mini-gpt, 4 shots", "ICL on mini-gpt, 32 shots"]


@pytest.mark.parametrize(("number", "is_few"), [(12, True), (29, True), (30, False)])
def test_intervals_of_few_examples_are_said_to_be_narrow(number, is_few):
    made = under("accuracy", record(num_examples=number, correct=(5,)))
    notes = list(remarks.intervals([table(made)]))
    assert any(f"a little too narrow below 30 examples (nli {number})" in note for note in notes) == is_few


def test_a_model_that_was_dequantised_is_said_once_to_be_another_than_the_published_one():
    plain = record("ia3", "mini-t0")
    model = plain.model.model_copy(update={"quantization": "Q4_1"})
    stored = [plain, *(record("ia3", "mini-t0", task=name).model_copy(update={"model": model}) for name in ("a", "b"))]
    notes = [note for note in compose(stored).findings if "GGUF" in note]
    assert notes == [
        "mini-t0: Q4_1 weights of a GGUF file, dequantised on loading: another model than the published one"
    ]
    published = plain.model_copy(update={"model": plain.model.model_copy(update={"quantization": "F16"})})
    assert not [note for note in compose([plain, published]).findings if "GGUF" in note]


def test_packed_weights_are_said_with_their_bytes():
    plain = record("lora", "mini-gpt")
    model = plain.model.model_copy(update={"quantization": "NF4", "weight_bytes": 1_767_266})
    (note,) = [text for text in compose([plain.model_copy(update={"model": model})]).findings if "NF4" in text]
    assert note == (
        "mini-gpt: NF4 weights of bitsandbytes, packed on loading (--load), 1.77 MB: another model than the published "
        "one"
    )


def test_templates_that_skip_rows_are_counted_and_have_no_interval():
    made = record(used=20)
    results = [made.results[0], made.results[1].model_copy(update={"num_examples": 250, "num_skipped": 50})]
    results = [result.model_copy(update={"right": "1" * result.num_examples}) for result in results]
    document = compose([made.model_copy(update={"results": results})])
    text = "1 of 2 tasks x templates x seeds skip rows that they make nothing of, 50 at most, and shots like them"
    assert any(text in note for note in document.findings)
    assert any("some templates skip rows" in note for note in document.conventions)
    assert document.tables[0].rows[0].num_examples == 300


def test_folds_of_a_leaderboards_rows_are_marked_as_a_stand_in_above_the_table_and_below(tmp_path):
    answers = {0: [1, 0, 1, 1, 0, 1]}
    document = compose(folded(tmp_path, answers, 3, task="overruling", metric="macro_f1"))
    assert document.tables[0].title == (
        "Task: overruling; by folds of the labelled rows, not the leaderboard's; model: mini-gpt"
    )
    (note,) = [text for text in document.conventions if text.startswith("raft: ")]
    assert "stand in for the leaderboard's test rows" in note
    for other in (folded(tmp_path, answers, 3, task="nli"), [record("ICL", "mini-gpt", "overruling")]):
        document = compose(other)
        assert "leaderboard" not in document.tables[0].title
        assert not any("leaderboard" in text for text in document.conventions)
