r"""k-means: of many rows those k are taken, to be labelled or kept, that stand for k groups of like rows.

    min_{C_1 ... C_k}  \sum_j \sum_{i in C_j} |e(x_i) - m_j|^2,   row j = argmin_{i in C_j} |e(x_i) - m_j|

e(x) are the embeddings of `selection.embedding`, by the model's own hidden states; m_j is the mean of group C_j. No
label is read. The best of ten starts is taken; a seed gives its own starts, and so its own rows. k rows are not the
first k of k + 1 rows, as drawn ones are.

scikit-learn computes it.

Paper: 2107.03176, section 3 (k-means over unlabelled rows, one row of each group).
Differs: the paper embeds by BART or by a bag of words.
"""

from collections.abc import Sequence

import numpy as np

from peftbench.errors import TaskError
from peftbench.models.backbone import Backbone
from peftbench.scoring.work import SelectionWork
from peftbench.selection import embedding
from peftbench.selection.base import Array

PACKAGE, EXTRA = "scikit-learn", "baselines"
NUM_STARTS = 10


def choose(backbone: Backbone, texts: Sequence[str], number: int, seed: int) -> tuple[list[int], SelectionWork]:
    """Choose texts that stand for as many groups.

    Args:
        backbone: Embeds them by its own hidden states, with nothing attached.
        texts: Of the rows.
        number: How many are chosen.
        seed: Of the starts.

    Returns:
        Their places, in the order of the texts; and what reading the texts took.

    Raises:
        TaskError: Fewer different texts than that.
        RunError: Hidden states that are not finite.
    """
    num_different = len(set(texts))
    if num_different < number:
        message = f"{number} shots stand for as many groups of rows, and the rows have {num_different} different texts"
        raise TaskError(message, hint=f"--shots {num_different} or fewer, --draw plain, or more rows with --train")
    index = embedding.index(texts, backbone)
    places = representatives(index.embeddings, number, seed)
    return places, SelectionWork(0, index.seconds, 0.0, index.tokens, reader=index.sizes)


def representatives(embeddings: Array, number: int, seed: int) -> list[int]:
    """Find for each of `number` groups the row that is nearest to its mean, of equally near ones the first.

    Args:
        embeddings: (rows, d_model) float32.
        number: How many groups.
        seed: Of the starts.

    Returns:
        Places of rows, rising.
    """
    from sklearn.cluster import KMeans

    values = embeddings.astype(np.float64)
    groups = KMeans(n_clusters=number, n_init=NUM_STARTS, random_state=seed).fit(values)
    distances = ((values - groups.cluster_centers_[groups.labels_]) ** 2).sum(1)  # (rows,)
    members = [np.flatnonzero(groups.labels_ == group) for group in range(number)]
    return sorted(int(rows[distances[rows].argmin()]) for rows in members)
