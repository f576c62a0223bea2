import json

import pytest
from rich.console import Console

from peftbench.report.evidence.decide import decide
from peftbench.report.formats import decide_text
from peftbench.report.notes.decision import Answer
from tests.report.evidence.answered import NAMES, cases

CASES = cases()


def answer(name, **facts):
    built, labels = CASES[name]
    return Answer(decide(built, 10_000, labels), choices=NAMES, **facts)


@pytest.mark.parametrize("name", CASES)
def test_the_text_fits_100_columns_and_begins_with_the_decision(name):
    text = decide_text.terminal(answer(name, command="peftbench predict x"), Console(width=100))
    assert max(map(len, text.splitlines())) <= 100
    first = " ".join(text.split("\n\n")[0].split())
    assert first == " ".join(decide_text.said(answer(name)))
    assert text.rstrip().endswith("Next: peftbench predict x")


def test_the_table_ends_with_what_needs_no_model():
    method, *columns = decide_text.table(answer("tune"))
    assert method.values == ("zero-shot", "ia3", "ICL", "always 'complaint'", "chance")
    assert [column.values[-2] for column in columns[1:]] == ["50.0", "", "", "", "0", ""]
    corrected = next(column for column in columns if column.header == ("corrected", "%"))
    assert [bool(text) for text in corrected.values] == [False, True, True, False, False]


def test_markdown_has_the_sentence_the_table_and_the_command():
    text = decide_text.markdown(answer("either", command="peftbench predict 'a*b'"))
    assert text.startswith("**Either: ia3 on mini-gpt (")
    assert "| method | shots | accuracy % |" in text
    assert "\n    peftbench predict 'a*b'\n" in text


def test_names_of_strangers_are_text():
    built, labels = CASES["neither"]
    found = Answer(decide(built, 10, labels), "ls\x1b[2J", ("<b>x</b>](y)\x1b[2J", "z"))
    assert "\x1b[2J" not in decide_text.terminal(found, Console(width=100))
    text = decide_text.markdown(found)
    assert "<b>" not in text
    assert "](" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("name", CASES)
def test_json_holds_what_the_text_says(name):
    found = answer(name)
    plain = json.loads(json.dumps(decide_text.to_json(found), allow_nan=False))
    assert (plain["verdict"], plain["answer"]) == (found.decision.verdict, decide_text.said(found))
    assert plain["pick"] == {"tune": "tuned", "prompt": "prompted", "either": "tuned", "one side": "prompted"}.get(name)
    assert len(plain["candidates"]) == len(found.decision.candidates)


def test_each_part_of_by_queries_begins_where_the_answer_turns():
    found = answer("either")
    parts = decide_text.by_queries(found)
    assert [part["from_queries"] for part in parts] == [1, 51, 4_950]
    assert [part["pick"] for part in parts] == ["prompted", "tuned", "tuned"]
    assert {part["verdict"] for part in parts} == {"either"}
    for number in (1, 50, 51, 4_949, 4_950, 10**6):
        part = [part for part in parts if part["from_queries"] <= number][-1]
        assert part["text"] == decide_text.notes.by_price(found.decision.after(number))
