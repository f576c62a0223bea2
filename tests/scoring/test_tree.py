import torch

from peftbench.scoring import tree
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.tree import Answers, Tokens


def planted():
    row, answers = tree.shared_tokens(1, ()), Answers()
    first = Encoded(context=(10, 11, 12), choices=((20, 26), (21, 22, 23)), starts=(0, 1))
    second = Encoded(context=(10, 13), choices=((24, 25),), starts=(0,))
    tree.add_prompt(row, answers, 0, 0, first, 1, 1)
    tree.add_prompt(row, answers, 0, 1, second, 1, 1)
    return row, answers


def test_choices_continue_their_context_and_their_last_token_is_not_fed():
    row, _ = planted()
    assert row.ids == [0, 11, 12, 20, 21, 22, 13, 24]
    assert row.positions == [0, 2, 3, 4, 4, 5, 2, 3]


def test_each_answer_token_is_predicted_by_the_token_before_it():
    _, answers = planted()
    found = list(zip(answers.prompts, answers.choices, answers.slots, answers.sources, answers.targets, strict=True))
    assert found[:4] == [(0, 0, 0, 2, 20), (0, 0, 1, 3, 26), (0, 1, 0, 4, 22), (0, 1, 1, 5, 23)]
    assert found[4:] == [(1, 0, 0, 6, 24), (1, 0, 1, 7, 25)]


def test_a_token_sees_its_ancestors_only():
    row, _ = planted()
    seen = tree.mask([row], 2, torch.float32, torch.device("cpu"))[0, 0] == 0
    assert seen[:, :3].all()  # two cached tokens and the virtual one
    assert seen[:, 3:].int().tolist() == [
        [0, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 1],
    ]


def test_distances_count_positions_not_places_in_the_row():
    row = Tokens(ids=[7, 8], positions=[5, 3], owners=[0, 1], branches=[0, 0])
    assert tree.distances([row], 2, torch.device("cpu"))[0, 0].tolist() == [[5, 4, 0, 2], [3, 2, -2, 0]]


def test_padding_is_counted_and_seen_by_no_token():
    rows = [Tokens(), Tokens()]
    rows[0].add([1, 2, 3], 0, 0, 0)
    rows[1].add([1], 0, 0, 0)
    assert tree.pad(rows) == 2
    seen = tree.mask(rows, 0, torch.float32, torch.device("cpu"))[1, 0] == 0
    assert seen[0].tolist() == [True, False, False]
