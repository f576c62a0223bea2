"""Mixed-task batches: several adapters on one backbone, each row of a batch through its own.

For (IA)^3 this is the reason of its form: a vector per row instead of one for all, so that examples of many tasks share
a forward pass. Here it holds for every method whose parameters all lie in modules that act on a row by itself: their
parameters get a leading axis over adapters, each row takes its slice, and the module's own `forward` runs over rows.

Paper: 2205.05638, section 3.3.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from peftbench.adapters import saved
from peftbench.errors import MethodError
from peftbench.models.attention import PREFIX
from peftbench.models.backbone import SOFT_PROMPT, Backbone
from peftbench.models.shapes import Attention, Site

Key = tuple[Site, str]


class Rows:
    """Which adapter each row of the present batch takes; shared by all modules of a mixture."""

    def __init__(self, device: torch.device) -> None:
        self.ids = torch.zeros(1, dtype=torch.long, device=device)

    def of(self, num_rows: int) -> Tensor:
        """Give an adapter's index for each of `num_rows` rows; an example's choices are rows next to each other."""
        return self.ids.repeat_interleave(num_rows // len(self.ids))


@dataclass(frozen=True)
class Part:
    """What one adapter brings: its modules by place, with their tensors inside."""

    modules: dict[Key, nn.Module]
    prefixes: dict[Attention, nn.Module]
    soft_prompt: nn.Module | None


class Kind(nn.Module):
    """Modules that differ in their tensors only, as one module with a leading axis over them.

    Args:
        modules: By the adapters' indices; of one class, shapes and settings.
        num_adapters: Of the whole mixture.
    """

    position: Tensor

    def __init__(self, modules: dict[int, nn.Module], num_adapters: int) -> None:
        super().__init__()
        tensors = [{**dict(module.named_parameters()), **dict(module.named_buffers())} for module in modules.values()]
        self._one = (next(iter(modules.values())),)  # in a tuple: not registered, its tensors are replaced at each use
        self.names = list(tensors[0])
        for index, name in enumerate(self.names):
            self.register_buffer(f"stack_{index}", torch.stack([table[name].detach() for table in tensors]))
        position = torch.full((num_adapters,), -1)
        position[list(modules)] = torch.arange(len(modules))
        self.register_buffer("position", position)
        self.is_complete = len(modules) == num_adapters

    def taken(self, where: Tensor) -> dict[str, Tensor]:
        """Gather the tensors at positions `where` (rows,); each gets a leading axis over rows."""
        return {name: self.get_buffer(f"stack_{index}")[where] for index, name in enumerate(self.names)}

    def forward(self, where: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Act on each row with its own tensors.

        Args:
            where: (rows,) positions in the stack.
            y: (rows, tokens, features) activations at the site.
            x: (rows, tokens, in_features) the layer's input.
        """
        one = self._one[0]
        run = vmap(lambda tensors, y_row, x_row: functional_call(one, tensors, (y_row, x_row)))
        return run(self.taken(where), y, x)


class Mixed(nn.Module):
    """The modules of several adapters at one place; rows whose adapter has none there pass as they are.

    Args:
        modules: By the adapters' indices.
        num_adapters: Of the whole mixture.
        rows: Whose row is whose.
    """

    def __init__(self, modules: dict[int, nn.Module], num_adapters: int, rows: Rows) -> None:
        super().__init__()
        self.rows = rows
        groups: dict[Any, dict[int, nn.Module]] = {}
        for index, module in modules.items():
            groups.setdefault(_signature(module), {})[index] = module
        self.kinds = nn.ModuleList(Kind(group, num_adapters) for group in groups.values())

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Act on the rows of each kind, (rows, tokens, features)."""
        ids = self.rows.of(len(y))
        first = self.kinds[0]
        if isinstance(first, Kind) and first.is_complete:
            return first(first.position[ids], y, x)
        for kind in self.kinds:
            assert isinstance(kind, Kind)
            where = kind.position[ids]
            there = (where >= 0).nonzero().squeeze(1)
            if len(there):
                y = y.index_copy(0, there, kind(where[there], y[there], x[there]).to(y.dtype))
        return y


class Prefixes(nn.Module):
    """The prefixes of several adapters at one attention block, shorter ones with keys that no query sees.

    Args:
        modules: By the adapters' indices.
        num_adapters: Of the whole mixture.
        rows: Whose row is whose.
    """

    k: Tensor
    v: Tensor
    there: Tensor

    def __init__(self, modules: dict[int, nn.Module], num_adapters: int, rows: Rows) -> None:
        super().__init__()
        self.rows = rows
        pairs = {index: module() for index, module in modules.items()}
        longest = max(keys.shape[1] for keys, _ in pairs.values())
        heads, _, d_kv = next(iter(pairs.values()))[0].shape
        for part, name in enumerate("kv"):
            stack = torch.zeros(num_adapters, heads, longest, d_kv, device=rows.ids.device)
            for index, pair in pairs.items():
                stack[index, :, : pair[part].shape[1]] = pair[part].detach()
            self.register_buffer(name, stack)
        lengths = [pairs[index][0].shape[1] if index in pairs else 0 for index in range(num_adapters)]
        there = torch.arange(longest) < torch.tensor(lengths)[:, None]
        self.register_buffer("there", there.to(rows.ids.device))

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give keys and values (examples, num_kv_heads, num_keys, d_kv), and which are there (examples, num_keys)."""
        ids = self.rows.ids
        return self.k[ids], self.v[ids], self.there[ids]


class SoftPrompts(nn.Module):
    """The soft prompts of several adapters; shorter ones stand at the end, next to the tokens.

    Args:
        modules: By the adapters' indices.
        num_adapters: Of the whole mixture.
        rows: Whose row is whose.
    """

    P: Tensor
    num_absent: Tensor

    def __init__(self, modules: dict[int, nn.Module], num_adapters: int, rows: Rows) -> None:
        super().__init__()
        self.rows = rows
        prompts = {index: module().detach() for index, module in modules.items()}
        longest = max(map(len, prompts.values()))
        first = next(iter(prompts.values()))
        stack = first.new_zeros(num_adapters, longest, first.shape[1])
        for index, prompt in prompts.items():
            stack[index, longest - len(prompt) :] = prompt
        self.register_buffer("P", stack)
        absent = [longest - len(prompts.get(index, ())) for index in range(num_adapters)]
        self.register_buffer("num_absent", torch.tensor(absent, device=first.device))

    @property
    def absent(self) -> Tensor:
        """How many virtual tokens, the first ones, are not there in each example, (examples,)."""
        return self.num_absent[self.rows.ids]

    def forward(self) -> Tensor:
        """Give (examples, num_virtual_tokens, d_model)."""
        return self.P[self.rows.ids]


class Mixture:
    """Several adapters on one backbone.

    Args:
        backbone: With nothing attached; afterwards the adapters are, until `backbone.detach_all()`.
        folders: The adapters', in the order in which `rows` numbers them.

    Raises:
        MethodError: No adapter there, a damaged one, one of another model, or one that changes weights which all rows
            share.
    """

    def __init__(self, backbone: Backbone, folders: Sequence[Path]) -> None:
        self.rows_now = Rows(backbone.device)
        parts = [_part(backbone, folder) for folder in folders]
        for site, name in dict.fromkeys(key for part in parts for key in part.modules):
            here = {index: part.modules[site, name] for index, part in enumerate(parts) if (site, name) in part.modules}
            backbone.insert(site, name, Mixed(here, len(parts), self.rows_now))
        for block in dict.fromkeys(block for part in parts for block in part.prefixes):
            prefixes = {index: part.prefixes[block] for index, part in enumerate(parts) if block in part.prefixes}
            backbone.insert_prefix(block, Prefixes(prefixes, len(parts), self.rows_now))
        prompts = {index: part.soft_prompt for index, part in enumerate(parts) if part.soft_prompt is not None}
        if prompts:
            backbone.set_soft_prompt(SoftPrompts(prompts, len(parts), self.rows_now))

    @contextmanager
    def rows(self, ids: Sequence[int]) -> Iterator[None]:
        """Say which adapter each row of the batches takes that are run inside.

        Args:
            ids: For each example of the batch, the number of its adapter.
        """
        self.rows_now.ids = torch.tensor(ids, device=self.rows_now.ids.device)
        yield


def _part(backbone: Backbone, folder: Path) -> Part:
    """Attach an adapter, take note of what it put where, and detach it."""
    names = saved.load(folder, backbone)
    part = Part(backbone.inserted, backbone.prefixes, backbone.soft_prompt)
    moved, num_members = backbone.num_positions_before, backbone.num_members
    owners = {f"{site.module}.{name}": module for (site, name), module in part.modules.items()}
    owners |= {f"{block.module}.{PREFIX}": module for block, module in part.prefixes.items()}
    owners |= {SOFT_PROMPT: part.soft_prompt} if part.soft_prompt is not None else {}
    covered = {f"{owner}.{leaf}" for owner, module in owners.items() for leaf in module.state_dict()}
    backbone.detach_all()
    if moved:
        raise MethodError(
            f"adapter '{folder}' cannot share a batch with others: its rows begin at position {moved}",
            hint="use it alone, with one --adapter",
        )
    if num_members > 1:
        raise MethodError(
            f"adapter '{folder}' cannot share a batch with others: each of its rows is run with {num_members} prompts",
            hint="use it alone, with one --adapter",
        )
    shared = [name for name in names if name not in covered]
    if shared:
        raise MethodError(
            f"adapter '{folder}' ({saved.read(folder).method}) cannot share a batch with others: it changes "
            f"'{shared[0]}', which all rows go through",
            hint="use it alone, with one --adapter",
        )
    return part


def _signature(module: nn.Module) -> Any:
    """Tell modules apart that cannot be stacked: class, shapes, and settings such as a scale or an activation.

    A parameter that two layers share has two names among the shapes and one among the parameters.
    """
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in module.state_dict().items())
    own = tuple(name for name, _ in module.named_parameters())
    settings = tuple((name, value) for name, value in sorted(vars(module).items()) if not name.startswith("_"))
    return type(module), shapes, own, settings
