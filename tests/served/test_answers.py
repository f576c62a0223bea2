"""What was answered before a run was stopped is kept whatever the file ends in, and counted as it was paid for."""

from peftbench.scoring.encoding import Encoded
from peftbench.scoring.work import Usage
from peftbench.served.answers import Answers
from peftbench.served.dialects.base import Answer

PROMPTS = [Encoded((number,), ((1,), (2,)), (0, 0)) for number in range(3)]
ANSWER, RESUMED = Answer((-1.0, -2.5), Usage(2, 10, 8, 2)), Usage(2, 10, 8, 2, resumed=1)


def written(path, *prompts):
    answers = Answers(path)
    for prompt in prompts:
        answers.add(prompt, ANSWER)
    answers.close()
    return path


def test_a_line_that_was_cut_spoils_none_that_come_after_it(tmp_path):
    path = written(tmp_path / "answers.jsonl", *PROMPTS[:2])
    path.write_bytes(b"\xff{]\n" + path.read_bytes()[:-9])
    answers = Answers(written(path, PROMPTS[2]))
    assert [answers.find(prompt) for prompt in PROMPTS] == [
        Answer(ANSWER.sums, RESUMED),
        None,
        Answer(ANSWER.sums, RESUMED),
    ]


def test_a_prompt_that_was_asked_twice_was_paid_for_twice_and_is_counted_once(tmp_path):
    answers = Answers(written(tmp_path / "answers.jsonl", PROMPTS[0], PROMPTS[0]))
    assert answers.find(PROMPTS[0]).usage == RESUMED + RESUMED
    assert answers.find(PROMPTS[0]).usage == Usage()
    answers.remove()
    assert not list(tmp_path.iterdir())
