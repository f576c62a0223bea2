"""Checkpoints of T-Few's authors, such as t03b_ia3_finish.pt: their (IA)^3 vectors under our names.

Theirs: a pickled table of "<block>.k.multi_lora_b" (d_attn, 1), "<block>.v.multi_lora_b" and, for the feed-forward
block, "<block>.wi_1.multi_lora_b" (d_ff, 1). Ours scales what goes into wo instead of what comes out of wi_1: the same
function.
"""

import re
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from peftbench.errors import MethodError
from peftbench.models import foreign

METHOD = "ia3"
KEY = re.compile(r"((?:encoder|decoder)\.block\.\d+\.layer\.\d\.\w+)\.(k|v|wi_1)\.multi_lora_b")
OURS = {"k": "k.l_k.weight", "v": "v.l_v.weight", "wi_1": "wo.l_ff.weight"}


def read(path: Path) -> dict[str, Tensor]:
    """Read the vectors; only tensors are unpickled, no code of the file's.

    Returns:
        Full name of our parameter -> (features) float32.

    Raises:
        MethodError: No file, no pickle of tensors, or one of another layout.
    """
    try:
        table = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise MethodError(f"cannot read '{path}': {foreign.reason(error)}", hint=_HINT) from None
    except Exception:  # what is no pickle, or one of code, torch's unpickler meets in many ways
        raise MethodError(f"'{path}' holds no pickled tensors", hint=_HINT) from None
    if not isinstance(table, dict) or not table:
        raise MethodError(f"'{path}' holds no table of tensors", hint=_HINT)
    return dict(_renamed(path, key, value) for key, value in table.items())


_HINT = "T-Few's (IA)^3 checkpoints, or a folder that `peftbench tune` wrote"


def _renamed(path: Path, key: object, value: object) -> tuple[str, Tensor]:
    match = KEY.fullmatch(str(key))
    if match is None or not _is_column(value):
        name = foreign.line(str(key))
        raise MethodError(f"'{path}' is no (IA)^3 checkpoint of T-Few's authors: it holds '{name}'", hint=_HINT)
    return f"{match[1]}.{OURS[match[2]]}", value[:, 0].float()


def _is_column(value: object) -> TypeGuard[Tensor]:
    """Tell whether a value is a matrix of one column, with numbers in it: a pickle may hold tensors without."""
    return (
        isinstance(value, Tensor)
        and (value.device.type, value.layout) == ("cpu", torch.strided)
        and value.is_floating_point()
        and value.dim() == 2
        and value.shape[1] == 1
    )
