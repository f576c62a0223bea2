"""Multi-adapter batches: several adapters on one backbone, each row of a batch through its own.

For (IA)^3 this is the reason of its form: a vector per row instead of one for all, so that examples of many tasks share
a forward pass. Here it holds for every method whose parameters all lie in modules that act on a row by itself: the
modules' tensors are stacked over adapters, each row takes its slice, and the module's own `forward` runs over rows.

Shapes:
    adapters    those side by side
    examples    prompts of a batch
    rows        of a forward pass: one for each example, or one for each of its choices, next to each other
    stacked     adapters whose modules at a site have one class, shapes and settings

Paper: 2205.05638, section 3.3.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from peftbench.adapters import saved
from peftbench.errors import MethodError
from peftbench.methods.parts.reference import Reference
from peftbench.models.attention import PREFIX
from peftbench.models.backbone import SOFT_PROMPT, Backbone
from peftbench.models.shapes import Attention, Site


class BatchIndex:
    """The adapter of each example in the present batch; all modules of a `SideBySide` share it."""

    def __init__(self, device: torch.device) -> None:
        self.adapters = torch.zeros(1, dtype=torch.long, device=device)  # (examples,)

    def of_rows(self, num_rows: int) -> Tensor:
        """Repeat each example's adapter for its rows, (rows,)."""
        return self.adapters.repeat_interleave(num_rows // len(self.adapters))


@dataclass(frozen=True)
class AdapterModules:
    """The modules of one adapter by where they stand, with their tensors inside."""

    inserted: dict[tuple[Site, str], nn.Module]
    prefixes: dict[Attention, nn.Module]
    soft_prompt: nn.Module | None


class Stack(nn.Module):
    """Modules that differ in their tensors only, as one module whose tensors are (stacked, ...).

    Args:
        modules: Adapter's index -> module; of one class, shapes and settings.
        num_adapters: All that are side by side.
    """

    slot: Tensor
    """(adapters,): an adapter's place in the stack; -1 where it has no module here."""

    def __init__(self, modules: dict[int, nn.Module], num_adapters: int) -> None:
        super().__init__()
        tensors = [{**dict(module.named_parameters()), **dict(module.named_buffers())} for module in modules.values()]
        self._template = Reference(next(iter(modules.values())))  # its tensors are replaced at each use
        self.names = list(tensors[0])
        for index, name in enumerate(self.names):
            # (...) of each module -> (stacked, ...)
            self.register_buffer(f"stack_{index}", torch.stack([table[name].detach() for table in tensors]))
        slot = torch.full((num_adapters,), -1)
        slot[list(modules)] = torch.arange(len(modules))
        self.register_buffer("slot", slot)
        self.is_complete = len(modules) == num_adapters

    def gather(self, slots: Tensor) -> dict[str, Tensor]:
        """Take each row's tensors, (rows, ...) by name, at the slots (rows,)."""
        return {name: self.get_buffer(f"stack_{index}")[slots] for index, name in enumerate(self.names)}

    def forward(self, slots: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Act on each row with its own tensors.

        Args:
            slots: (rows,) places in the stack.
            y: (rows, tokens, features) activations at the site.
            x: (rows, tokens, in_features) the layer's input.
        """
        module = self._template.target
        run = vmap(lambda tensors, y_row, x_row: functional_call(module, tensors, (y_row, x_row)))
        return run(self.gather(slots), y, x)  # (rows, tokens, features)


class PerRow(nn.Module):
    """The modules of several adapters at one site; rows whose adapter has none there pass as they are.

    Args:
        modules: Adapter's index -> module.
        num_adapters: All that are side by side.
        batch: The present batch's adapters.
    """

    def __init__(self, modules: dict[int, nn.Module], num_adapters: int, batch: BatchIndex) -> None:
        super().__init__()
        self.batch = batch
        groups: dict[Any, dict[int, nn.Module]] = {}
        for index, module in modules.items():
            groups.setdefault(_signature(module), {})[index] = module
        self.stacks = nn.ModuleList(Stack(group, num_adapters) for group in groups.values())

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Act on the rows of each stack; y and the result (rows, tokens, features), x (rows, tokens, in_features)."""
        adapters = self.batch.of_rows(len(y)).to(y.device)
        first = self.stacks[0]
        if isinstance(first, Stack) and first.is_complete:
            return first(first.slot[adapters], y, x)
        for stack in self.stacks:
            assert isinstance(stack, Stack)
            slots = stack.slot[adapters]  # (rows,)
            own = (slots >= 0).nonzero().squeeze(1)  # (own rows,): those whose adapter is in the stack
            if len(own):
                y = y.index_copy(0, own, stack(slots[own], y[own], x[own]).to(y.dtype))
        return y


class PrefixStack(nn.Module):
    """The prefixes of several adapters at one attention block, shorter ones with keys that no query sees.

    Args:
        modules: Adapter's index -> prefix.
        num_adapters: All that are side by side.
        batch: The present batch's adapters.
    """

    k: Tensor
    v: Tensor
    is_visible: Tensor

    def __init__(self, modules: dict[int, nn.Module], num_adapters: int, batch: BatchIndex) -> None:
        super().__init__()
        self.batch = batch
        device = batch.adapters.device
        pairs = {index: module() for index, module in modules.items()}  # keys, values: (num_kv_heads, num_keys, d_kv)
        longest = max(keys.shape[1] for keys, _ in pairs.values())
        heads, _, d_kv = next(iter(pairs.values()))[0].shape
        for part, name in enumerate("kv"):
            stack = torch.zeros(num_adapters, heads, longest, d_kv, device=device)
            for index, pair in pairs.items():
                stack[index, :, : pair[part].shape[1]] = pair[part].detach()
            self.register_buffer(name, stack)
        lengths = [pairs[index][0].shape[1] if index in pairs else 0 for index in range(num_adapters)]
        is_visible = torch.arange(longest) < torch.tensor(lengths)[:, None]  # (adapters, longest)
        self.register_buffer("is_visible", is_visible.to(device))

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys and values (examples, num_kv_heads, num_keys, d_kv), and which are seen (examples, num_keys)."""
        adapters = self.batch.adapters.to(self.k.device)
        return self.k[adapters], self.v[adapters], self.is_visible[adapters]


class PromptStack(nn.Module):
    """The soft prompts of several adapters; shorter ones stand at the end, next to the tokens.

    Args:
        modules: Adapter's index -> soft prompt.
        num_adapters: All that are side by side.
        batch: The present batch's adapters.
    """

    P: Tensor
    num_absent: Tensor

    def __init__(self, modules: dict[int, nn.Module], num_adapters: int, batch: BatchIndex) -> None:
        super().__init__()
        self.batch = batch
        prompts = {index: module().detach() for index, module in modules.items()}  # (num_virtual_tokens, d_model) each
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
        """How many virtual tokens, the first ones, each example is without, (examples,)."""
        return self.num_absent[self.batch.adapters]

    def forward(self) -> Tensor:
        """Return each example's prompt, (examples, num_virtual_tokens, d_model)."""
        return self.P[self.batch.adapters]


class SideBySide:
    """Several adapters on one backbone.

    Args:
        backbone: With nothing attached; afterwards the adapters are, until `backbone.detach_all()`.
        folders: The adapters'; an adapter's index is its folder's.

    Raises:
        MethodError: No adapter there, a damaged one, one of another model, or one that changes weights which all rows
            share.
    """

    def __init__(self, backbone: Backbone, folders: Sequence[Path]) -> None:
        self._batch = BatchIndex(backbone.device)
        adapters = [_modules(backbone, folder) for folder in folders]
        for site, name in dict.fromkeys(key for adapter in adapters for key in adapter.inserted):
            modules = _present([adapter.inserted.get((site, name)) for adapter in adapters])
            backbone.insert(site, name, PerRow(modules, len(adapters), self._batch))
        for block in dict.fromkeys(block for adapter in adapters for block in adapter.prefixes):
            prefixes = _present([adapter.prefixes.get(block) for adapter in adapters])
            backbone.insert_prefix(block, PrefixStack(prefixes, len(adapters), self._batch))
        prompts = _present([adapter.soft_prompt for adapter in adapters])
        if prompts:
            backbone.set_soft_prompt(PromptStack(prompts, len(adapters), self._batch))

    @contextmanager
    def use(self, adapters: Sequence[int]) -> Iterator[None]:
        """Run the batches inside with an adapter for each example.

        Args:
            adapters: Of each example of the batch, the index of its adapter.
        """
        self._batch.adapters = torch.tensor(adapters, device=self._batch.adapters.device)
        yield

    def assigned(self, adapters: Sequence[int]) -> "Assigned":
        """Assign an adapter to each of many prompts, for `scoring.score`."""
        return Assigned(self, adapters)


@dataclass(frozen=True)
class Assigned:
    """The adapter of each prompt: what `scoring.batches.RowAdapters` asks for.

    Args:
        side_by_side: The adapters.
        adapters: Of each prompt, the index of its adapter.
    """

    side_by_side: SideBySide
    adapters: Sequence[int]

    def select(self, indices: Sequence[int]) -> AbstractContextManager[None]:
        """Run a batch of the prompts `indices`, each with its own adapter."""
        return self.side_by_side.use([self.adapters[index] for index in indices])


def _present(modules: Sequence[nn.Module | None]) -> dict[int, nn.Module]:
    return {index: module for index, module in enumerate(modules) if module is not None}


def _modules(backbone: Backbone, folder: Path) -> AdapterModules:
    """Attach an adapter, list its modules, and detach it."""
    names = saved.load(folder, backbone)
    adapter = AdapterModules(backbone.inserted, backbone.prefixes, backbone.soft_prompt)
    num_positions_before, num_members = backbone.num_positions_before, backbone.num_members
    owners = {f"{site.module}.{name}": module for (site, name), module in adapter.inserted.items()}
    owners |= {f"{block.module}.{PREFIX}": module for block, module in adapter.prefixes.items()}
    owners |= {SOFT_PROMPT: adapter.soft_prompt} if adapter.soft_prompt is not None else {}
    per_row = {f"{owner}.{leaf}" for owner, module in owners.items() for leaf in module.state_dict()}
    backbone.detach_all()
    if num_positions_before:
        raise _refused(folder, f"its rows begin at position {num_positions_before}")
    if num_members > 1:
        raise _refused(folder, f"each of its rows is run with {num_members} prompts")
    shared = [name for name in names if name not in per_row]
    if shared:
        raise _refused(folder, f"it changes '{shared[0]}', which all rows go through", saved.read(folder).method)
    return adapter


def _refused(folder: Path, reason: str, method: str = "") -> MethodError:
    kind = f" ({method})" if method else ""
    return MethodError(
        f"adapter '{folder}'{kind} cannot share a batch with others: {reason}",
        hint="use it alone, with one --adapter",
    )


def _signature(module: nn.Module) -> Any:
    """Tell modules apart that cannot be stacked: class, shapes, and settings such as a scale or an activation.

    A parameter that two layers share has two names among the shapes and one among the parameters.
    """
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in module.state_dict().items())
    own = tuple(name for name, _ in module.named_parameters())
    settings = tuple((name, value) for name, value in sorted(vars(module).items()) if not name.startswith("_"))
    return type(module), shapes, own, settings
