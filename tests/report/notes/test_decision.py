from dataclasses import replace

import pytest

from peftbench.report.evidence.decide import decide
from peftbench.report.notes import decision as notes
from peftbench.report.notes.decision import Answer
from tests.report.evidence.answered import NAMES, answered, cases, curved, table
from tests.report.evidence.test_decide import LABELS, pair, pattern


def answer(built, labels=LABELS, queries=10_000, **facts):
    return Answer(decide(built, queries, labels), choices=NAMES, **facts)


def test_a_manager_reads_what_to_do_and_what_it_costs():
    # 70 and 42 of 80; one candidate on each side, so that there is nothing to correct
    text = notes.sentence(answer(pair(40, 30, 2)))
    assert text == (
        "Tune: ia3 on mini-gpt is right on 88 of 100 such rows, 16 examples in the prompt on 52; for 10,000 queries "
        "it costs a seventieth; it has paid for itself after 51 queries (4,950 if your server caches the prompt)."
    )


def test_a_prompt_that_is_better_says_from_where_tuning_would_be_cheaper():
    text = notes.sentence(answer(pair(40, 2, 30), queries=10))
    assert text == (
        "Prompt: 16 examples in the prompt are right on 88 of 100 such rows, ia3 on mini-gpt on 52; for 10 queries it "
        "costs a fifth; prompts are cheaper below 51 queries (4,950 if your server caches the prompt)."
    )


def test_what_rows_cannot_tell_goes_by_price_and_says_how_many_more_would():
    either = answer(pair(60, 6, 4))
    assert notes.sentence(either) == (
        "Either: ia3 on mini-gpt (82 of 100 such rows right) and 16 examples in the prompt (80) are as good as far as "
        "80 rows can tell; prompts are cheaper below 51 queries (4,950 if your server caches the prompt), so for "
        "10,000 tuning costs less, cached or not."
    )
    lead = either.decision.lead
    assert notes.evidence(either) == (
        f"Not enough evidence to tell which is more accurate: about {notes.rounded(lead.num_more_rows):,} more rows "
        "would show the 2.5 points that were seen."
    )


def test_neither_names_the_label_that_does_as_well():
    built, labels = cases()["neither"]
    neither = answer(built, labels)
    assert notes.sentence(neither).startswith(
        "Neither: nothing is shown to be better than always answering 'complaint', which is right on 60 of 100 such "
        "rows; the best, "
    )
    assert "the most frequent label, which" in notes.sentence(Answer(neither.decision))
    assert "and nothing is shown to be worth it" in notes.line(neither.decision)


def test_learning_curves_say_from_how_many_rows_on_tuning_is_ahead():
    decision = Answer(decide(curved(), 100))
    (line,) = (text for text in notes.would_change(decision) if text.startswith("labelled rows: "))
    assert line.startswith("labelled rows: ia3 on mini-gpt is ahead of ICL on mini-gpt from about ")
    assert any(text.startswith("learning curves: ahead with each") for text in notes.conventions(decision.decision))
    assert not any(text.startswith("labelled rows: ") for text in notes.would_change(answer(pair(40, 30, 2))))


def test_what_is_behind_the_most_frequent_label_needs_no_more_rows():
    behind = answer(pair(30, 10, 0), [int(place % 5 > 2) for place in range(80)])
    assert (behind.decision.verdict, behind.decision.majority.lead.value) == ("neither", pytest.approx(-0.1))
    assert notes.evidence(behind) is None
    assert any("the best is 10.0 points below" in text for text in notes.would_change(behind))


def test_the_luck_of_the_best_of_several_is_not_what_more_rows_would_show():
    decision = answer(*cases()["neither"]).decision
    ahead = replace(decision.majority.lead, value=0.05, num_more_rows=400)
    seen = replace(decision, majority=replace(decision.majority, lead=ahead))
    assert seen.best.estimate.value < seen.majority.share
    assert notes.evidence(Answer(seen)) is None
    frequent = replace(seen, majority=replace(seen.majority, share=0.1))
    assert "about 400 more rows would show the 5.0 points" in notes.evidence(Answer(frequent))


def test_one_side_alone_is_not_enough_evidence():
    one_side = answer(*cases()["one side"])
    assert notes.sentence(one_side).startswith("Not enough evidence: nothing was tuned; 16 examples in the prompt are ")
    assert notes.evidence(one_side) is None
    assert "nothing was tuned, so that nothing is said of that" in list(notes.uncertain(one_side))
    assert notes.line(one_side.decision) == "For 10,000 queries: there is nothing to compare prices with."


def test_what_is_as_good_is_said_to_be_and_goes_by_price():
    found = answer(pair(1_990, 5, 5, num_rows=3_000), [0, 1] * 1_500)
    assert "shown to be as good to 2 points" in notes.sentence(found)
    assert notes.line(found.decision).endswith("tuning costs less, cached or not; tune, which is shown to be as good.")
    assert notes.evidence(found) is None


def test_the_line_turns_where_prices_do():
    decision = answer(pair(60, 6, 4)).decision
    lines = [notes.line(decision.after(number)) for number in (1, 51, 4_950)]
    assert lines[0].startswith("For 1 query: the prompt costs less, cached or not; both are as good as these rows can")
    assert lines[1].startswith("For 51 queries: tuning costs less, but not where the prompt is cached; both")
    assert lines[2].startswith("For 4,950 queries: tuning costs less, cached or not; both")
    assert [text.rpartition("so take ")[2] for text in lines] == [
        "16 examples in the prompt.", "ia3 on mini-gpt.", "ia3 on mini-gpt.",
    ]  # fmt: skip


def test_against_the_prompt_without_examples_tuning_never_pays():
    tuned, prompted = pattern(60, 6, 4)
    found = answer(table(answered("ia3", tuned), answered("ICL", prompted, shots=0)))
    assert "prompts are cheaper for any number of queries, so for 10,000 the prompt costs less." in notes.sentence(
        found
    )


def test_numbers_that_would_change_it_are_four_or_five():
    for name, (built, labels) in cases().items():
        texts = list(notes.would_change(answer(built, labels)))
        assert (1 if name == "one side" else 4) <= len(texts) <= 5


def test_uncertain_is_what_was_chosen_repeated_few_or_not_known():
    records = [
        answered("ICL", [1, 0] * 10, clusters=" ".join(str(place // 2) for place in range(20)), labels=[0, 1] * 10),
        answered("ICL", [1, 1] * 10, seed=1),
        answered("ia3", [1, 0] * 10),
    ]
    found = answer(table(*records), None, notes=("learned from 4/5 of the rows",))
    texts = list(notes.uncertain(found))
    assert "16 examples in the prompt: 50.0 to 100.0 % over 2 seeds" in texts
    assert "ia3 on mini-gpt: one seed, so that nothing says how much other shots would change (--repeats 3)" in texts
    assert "of 20 rows some belong together: they count as 10" in texts
    assert "fewer than 30 rows: intervals and tests are rough" in texts
    assert "learned from 4/5 of the rows" in texts
    assert any("its share is taken for a fixed number" in text for text in texts)


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.5, "half"), (0.34, "a third"), (0.025, "a fortieth"), (0.0012, "1/800"), (0.9, "about as much"),
        (1.0, "about as much"), (2.34, "2.3 times as much"), (41.6, "42 times as much"), (0.08, "a tenth"),
    ],
)  # fmt: skip
def test_shares_of_costs_are_words(ratio, text):
    assert notes.share(ratio) == text


def test_numbers_of_rows_are_rounded_up_to_two_digits():
    assert [notes.rounded(number) for number in (7, 38, 238, 8_041)] == [7, 38, 240, 8_100]
