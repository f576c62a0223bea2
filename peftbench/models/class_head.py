r"""A classification layer on an encoder's pooled state, in the place of the head that fills masks.

    p(c | x) = softmax_c(W h + b)          h: (d_model,)   W: (classes, d_model)   b: (classes,)

h is the first token's last state, or the mean over the text's tokens where the model was trained for that.

Paper: 1810.04805, section 4.1.
Differs: the authors' code puts a pre-trained dense layer (the pooler) between h and W, and drops out before W; RoBERTa
    and DeBERTa train a new one. Here W and b are all that is added.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

NAME = "class_head"
INIT_STD = 0.02
"""Of W's start, as BERT's; b starts at zero."""


class ClassHead(nn.Module):
    """The layer.

    Args:
        num_classes: Rows of W.
        d_model: Columns of W.
    """

    def __init__(self, num_classes: int, d_model: int) -> None:
        super().__init__()
        self.W = nn.Parameter(INIT_STD * torch.randn(num_classes, d_model))
        self.b = nn.Parameter(torch.zeros(num_classes))

    def forward(self, hidden: Tensor) -> Tensor:
        """Compute the logits of the classes, (texts, classes) float32, of pooled states (texts, d_model)."""
        return functional.linear(hidden.float(), self.W, self.b)
