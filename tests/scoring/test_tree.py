import torch
from hypothesis import given
from hypothesis import strategies as st

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


ALIKE = Encoded(context=(1,), choices=((5, 6, 8), (7, 9), (5, 6), (5, 6, 9, 4), (5, 3, 2)), starts=(0, 1, 0, 1, 0))


def test_choices_that_begin_alike_share_these_tokens():
    trie = tree.branches(ALIKE)
    assert trie.ids == [5, 3, 6, 9, 7]
    assert trie.depths == [0, 1, 1, 2, 0]
    assert trie.ends == [4, 2, 4, 4, 5]
    found = sorted(zip(trie.choices, trie.slots, trie.sources, trie.targets, strict=True))
    assert found[:3] == [(0, 0, -1, 5), (0, 1, 0, 6), (0, 2, 2, 8)]
    assert found[3:6] == [(1, 0, 4, 9), (2, 0, -1, 5), (2, 1, 0, 6)]
    assert found[6:] == [(3, 0, 0, 6), (3, 1, 2, 9), (3, 2, 3, 4), (4, 0, -1, 5), (4, 1, 0, 3), (4, 2, 1, 2)]
    assert trie.num_predicting == 1 + 5


def test_choices_that_share_nothing_are_branches_of_their_own():
    trie = tree.branches(ALIKE, is_shared=False)
    assert len(trie.ids) == sum(len(ids) - 1 for ids in ALIKE.choices)
    assert sorted(zip(trie.ids, trie.depths, strict=True)) == sorted(
        (token, depth) for ids in ALIKE.choices for depth, token in enumerate(ids[:-1])
    )


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), min_size=1, max_size=9, unique=True))
def test_a_tries_tokens_are_what_choices_begin_with_and_see_what_stands_before_them(choices):
    trie = tree.branches(Encoded((9,), tuple(choices), (0,) * len(choices)))
    row = Tokens(trie.ids, trie.depths, trie.ends)
    seen = tree.mask([row], 0, torch.float32, torch.device("cpu"))[0, 0] == 0
    paths = [tuple(trie.ids[index] for index in line.nonzero()[:, 0]) for line in seen]
    assert sorted(paths) == sorted({ids[:stop] for ids in choices for stop in range(1, len(ids))})
    read = dict.fromkeys(range(len(choices)), ())
    for choice, source, target in zip(trie.choices, trie.sources, trie.targets, strict=True):
        assert (() if source < 0 else paths[source]) == read[choice]
        read[choice] += (target,)
    assert list(read.values()) == choices


def test_distances_count_positions_not_places_in_the_row():
    row = Tokens(ids=[7, 8], positions=[5, 3], ends=[1, 2])
    assert tree.distances([row], 2, torch.device("cpu"))[0, 0].tolist() == [[5, 4, 0, 2], [3, 2, -2, 0]]


def test_padding_is_counted_and_seen_by_no_token():
    rows = [Tokens(), Tokens()]
    rows[0].add([1, 2, 3], range(3), [3, 3, 3])
    rows[1].add([1], [0], [1])
    assert tree.pad(rows) == 2
    seen = tree.mask(rows, 0, torch.float32, torch.device("cpu"))[1, 0] == 0
    assert seen[0].tolist() == [True, False, False]
    assert seen.diagonal().all()  # a row of the mask that hides all would give no number
