"""A backbone: a loaded transformer with named sites where methods attach. It knows no method and no family."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from peftbench.models import class_head, devices, hooks, quantized
from peftbench.models.attention import PREFIX
from peftbench.models.family import Family
from peftbench.models.shapes import Attention, Layer, Role, Site

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from peftbench.models.sentence_model import SentenceModel

SOFT_PROMPT = "soft_prompt"
Pooling = Literal["first", "mean"]


class Remote(Protocol):
    """Runs prompts elsewhere: `scoring.batches` would run them here."""

    def batches(self, encoded: Sequence[Any]) -> Iterator[Any]:
        """Score prompts (`scoring.encoding.Encoded`): yield `scoring.batches.Batch` of them, all in the end."""
        ...


class Backbone:
    """A loaded transformer: frozen, in eval mode, with named sites where methods attach.

    Args:
        name: As the user wrote it.
        revision: Branch, tag or commit on the hub; None: the default, or a local folder.
        fingerprint: SHA-256 over the weight files; of a served model (`served.backbone`), which is another class of
            backbone, over what the server says and answers.
        model_sha256: SHA-256 over the config and the tokenizer's files; None for embedded models, which cannot change
            without a word (`weights.check_sums`), and for GGUF files, whose fingerprint covers both.
        quantization: Type that the weights had in the file, before they were dequantised: Q4_1; or that they are packed
            in: NF4; None of others.
        model: The transformers model, loaded with this package's attention.
        tokenizer: A fast tokenizer (character offsets are needed).
        family: What is known of this kind of model: sizes, sites, windows, head.
        tables: The tables of the model folder's peftbench.toml.
        has_head: Whether it predicts words; an encoder may come without what does.
        pooling: Which state of a text stands for it, where it is classified: the first token's, or the mean of all.
        is_packed: Whether its layers' matrices are packed: methods may add to it, and change nothing of its own.
    """

    remote: "Remote | None" = None
    """Who runs prompts in this model's place; None where its weights are here."""
    sentence: "SentenceModel | None" = None
    """What makes vectors of texts in this model's place (`models.sentence_backbone`); None where its own states do."""

    def __init__(
        self,
        *,
        name: str,
        revision: str | None,
        fingerprint: str,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerFast",
        family: Family,
        model_sha256: str | None = None,
        quantization: str | None = None,
        tables: Mapping[str, Any] | None = None,
        has_head: bool = True,
        pooling: Pooling = "first",
        is_packed: bool = False,
    ) -> None:
        self.name, self.revision, self.fingerprint, self.model_sha256 = name, revision, fingerprint, model_sha256
        self.quantization, self.is_packed = quantization, is_packed
        self.model, self.tokenizer, self.tables = model, tokenizer, dict(tables or {})
        self.family, self.has_head, self.pooling = family, has_head, pooling
        family.rewire(model)
        self.sizes = family.sizes(model.config)
        self.max_positions = family.max_positions(model.config)
        self.is_encoder_decoder = self.sizes.is_encoder_decoder
        self.num_parameters = sum(map(quantized.num_values, model.parameters()))
        self.weight_bytes = quantized.num_bytes(model) if is_packed else None
        self._sites = family.sites(self.sizes)
        self._attentions = family.attentions(self.sizes)
        self._layers = family.layers(self.sizes)
        self._undo: list[Callable[[], None]] = []
        self._undo_classes: list[Callable[[], None]] = []
        self._overlays: dict[str, nn.Module] = {}
        self._inserted: dict[tuple[Site, str], nn.Module] = {}
        self._prefixes: dict[Attention, nn.Module] = {}
        self._loaded: dict[str, Tensor] = {}
        self.num_positions_before = 0
        self._uses = _uses(model)
        self._base = list(self._uses)
        model.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        """The device of the embeddings, which inputs go to; it holds the other weights too, unless they are spread."""
        return self.embeddings.weight.device

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """All devices that hold weights, that of the embeddings first."""
        return devices.distinct((self.embeddings.weight, *self.model.parameters()))

    @property
    def device_names(self) -> str:
        """The devices that hold weights, in words: cuda:0, cuda:1."""
        return ", ".join(map(str, self.devices))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.embeddings.weight.dtype

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says of the model beside its name: `store.record.ModelInfo`."""
        return {
            "family": self.model.config.model_type,
            "is_encoder_decoder": self.is_encoder_decoder,
            "num_parameters": self.num_parameters,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type if len(self.devices) == 1 else self.device_names,
            "quantization": self.quantization,
            **({"weight_bytes": self.weight_bytes} if self.is_packed else {}),
        }

    @property
    def remark(self) -> str | None:
        """What somebody should know about how it is run; None where nothing is special."""
        return None

    @contextmanager
    def session(self, answers: Path) -> Iterator[None]:
        """Run a cell inside; a served model goes on with the answers of a run that was stopped."""
        yield

    @property
    def embeddings(self) -> nn.Embedding:
        """The input embeddings, (vocab_size, d_model)."""
        return self.model.get_input_embeddings()

    @property
    def base_names(self) -> list[str]:
        """Full names of the model's own parameters; tied ones are named once, and those of a head in use alone."""
        if not self.sizes.num_classes:
            return list(self._base)
        return [name for name in self._base if not name.startswith(self.family.head_names)]

    @property
    def soft_prompt(self) -> nn.Module | None:
        """The module of `set_soft_prompt`; its forward returns (num_virtual_tokens, d_model)."""
        return getattr(self.model, SOFT_PROMPT, None)

    @property
    def num_members(self) -> int:
        """Number of soft prompts that an example is run with, each in a row of its own: 1, or those of an ensemble."""
        return getattr(self.soft_prompt, "num_members", 1)

    @property
    def has_overlays(self) -> bool:
        """Whether the model computes with something in place of parameters of its own (`overlay`)."""
        return bool(self._overlays)

    @property
    def inserted(self) -> dict[tuple[Site, str], nn.Module]:
        """(Site, name) -> the module that `insert` put there, in the order of insertion."""
        return dict(self._inserted)

    @property
    def prefixes(self) -> dict[Attention, nn.Module]:
        """Attention block -> the module that `insert_prefix` put there."""
        return dict(self._prefixes)

    @property
    def window(self) -> int | None:
        """How many tokens back attention looks in its windowed layers; None where there are none."""
        return self.family.window(self.model.config)

    @property
    def is_windowed(self) -> bool:
        """Whether a layer's attention looks back less far than the model has positions."""
        window = self.window
        return window is not None and (self.max_positions is None or window < self.max_positions)

    @property
    def start_ids(self) -> list[int]:
        """The tokens that the decoder of an encoder-decoder starts from."""
        return self.family.start(self.model.config)

    def logits(self, hidden: Tensor) -> Tensor:
        """Compute the logits, (tokens, vocab_size) float32, of last hidden states (tokens, d_model).

        With a classification layer they are those of the classes, (texts, classes), of pooled states.
        """
        if self.sizes.num_classes:
            logits: Tensor = self.model.get_submodule(class_head.NAME)(hidden)
            return logits
        return self.family.head(self.model, hidden)

    def sites(self, role: Role) -> list[Site]:
        """List the sites of a role, encoder first; empty if this family has none."""
        return [site for site in self._sites if site.role == role]

    def attentions(self) -> list[Attention]:
        """List the attention blocks, encoder first."""
        return list(self._attentions)

    def layers(self) -> list[Layer]:
        """List the layers, encoder first, lowest first."""
        return list(self._layers)

    def has_config(self, model_sha256: str | None) -> bool:
        """Tell whether config and tokenizer are those of a hash, as far as both sides have one."""
        return None in (model_sha256, self.model_sha256) or model_sha256 == self.model_sha256

    def settings(self, method: str) -> dict[str, Any]:
        """Return the training settings that come with the model folder: [tune], overridden by [tune.<method>]."""
        table = self.tables.get("tune", {})
        shared = {key: value for key, value in table.items() if not isinstance(value, dict)}
        return shared | table.get(method, {})

    def insert(self, site: Site, name: str, module: nn.Module) -> None:
        """Let `module` act at a site: piece <- module(piece, x), on the output's or the input's slice.

        It becomes the submodule `name` of the site's linear layer, so that its parameters read
        "<linear>.<name>.<parameter>"; base weights keep their names. Several modules on a layer act in the order of
        insertion. `module` may be in float32 on a half-precision backbone: what it returns is cast back.

        Args:
            site: Where.
            name: Not yet taken on that layer. GPT-2 has q, k and v on one layer: put the role into the name.
            module: forward(piece, x): piece (..., site.features), x (..., in_features) the layer's input.
        """
        linear = self.model.get_submodule(site.module)
        assert not hasattr(linear, name), f"'{name}' is taken on {site.module}"
        self._adopt(linear, name, module, devices.of(linear, self.device))
        self._inserted[site, name] = module
        self._undo.append(partial(self._inserted.__delitem__, (site, name)))
        self._undo.append(hooks.act_at(site, linear, module).remove)

    def overlay(self, name: str, module: nn.Module) -> None:
        """Let the model compute with `module(weight)` in place of one of its own parameters, tied uses included.

        The parameter keeps its name, its place and its value. `module` is not registered here: what it trains must
        have a place of its own in the model (`adopt`).

        Args:
            name: Full name of the parameter.
            module: forward(weight), of the same shape; called at each use.

        Raises:
            MethodError: The weights are packed.
        """
        if self.is_packed:
            raise quantized.refusal(self.name, "computes with a change of the model's weights")
        weight = self.model.get_parameter(name)
        self._overlays[name] = module
        self._undo.append(partial(self._overlays.__delitem__, name))
        for owner, leaf in self._uses[name]:
            for handle in hooks.overlay(owner, leaf, weight, module):
                self._undo.append(handle.remove)

    @torch.no_grad()
    def fold_overlays(self) -> None:
        """Write the overlaid values into the parameters, and take out all that was inserted."""
        folded = {name: module(self.model.get_parameter(name)) for name, module in self._overlays.items()}
        self.take_out()
        self.keep(folded)
        for name, weight in folded.items():
            self.model.get_parameter(name).copy_(weight)

    def add_bias(self, module: str) -> None:
        """Add a bias of zeros to a linear layer that has none, until `detach_all`."""
        linear = self.model.get_submodule(module)
        if linear.bias is None:
            linear.bias = nn.Parameter(linear.weight.new_zeros(linear.out_features), requires_grad=False)
            self._undo.append(lambda: setattr(linear, "bias", None))

    def adopt(self, name: str, module: nn.Module) -> None:
        """Make `module` the submodule `name` of the whole model, for parameters that belong to no one layer.

        It stands on the device of the embeddings: what uses it in a layer moves its values there.
        """
        assert not hasattr(self.model, name), f"'{name}' is taken"
        self._adopt(self.model, name, module, self.device)

    def insert_prefix(self, attention: Attention, module: nn.Module) -> None:
        """Put keys and values before those of an attention block's tokens; all queries see them, at no position.

        Args:
            attention: Where; the module becomes its submodule "prefix".
            module: forward() returns keys and values, (num_kv_heads, num_keys, d_kv) each.
        """
        block = self.model.get_submodule(attention.module)
        assert not hasattr(block, PREFIX), f"{attention.module} has a prefix"
        self._adopt(block, PREFIX, module, devices.of(block, self.device))
        self._prefixes[attention] = module
        self._undo.append(partial(self._prefixes.__delitem__, attention))

    def start_at(self, position: int) -> None:
        """Let the first token of every input stand at a position; those before it belong to a prefix of a text.

        So no input begins with the token that opens a text, and that many positions less are left for it. The model is
        told the number too, as `num_before`: to ALiBi the prefix's keys stand at those positions.
        """

        def moved(_model: nn.Module, _args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
            positions = named.get("position_ids")
            if positions is None:
                positions = torch.arange(named["inputs_embeds"].shape[1], device=self.device)[None]
            return _args, named | {"position_ids": positions + position, "num_before": position}

        handle = self.model.base_model.register_forward_pre_hook(moved, with_kwargs=True)
        self._undo.append(handle.remove)
        self._undo.append(partial(setattr, self, "max_positions", self.max_positions))
        self._undo.append(partial(setattr, self, "num_positions_before", 0))
        self.num_positions_before = position
        if self.max_positions is not None:
            self.max_positions -= position

    def set_soft_prompt(self, module: nn.Module) -> None:
        """Put virtual tokens before the encoder's input, or before the sequence of a decoder-only model.

        Args:
            module: forward() returns (num_virtual_tokens, d_model), or (rows, ...) of them; it becomes the model's
                submodule "soft_prompt". An ensemble has `num_members` of them, which take turns over the rows unless
                `use(members)` is entered.
        """
        self.adopt(SOFT_PROMPT, module)
        with torch.no_grad():  # once: a network that makes the prompt is not run to count its tokens
            self.num_prompt_tokens = module().shape[-2]

    def set_classes(self, number: int) -> list[str]:
        """Put a classification layer in the place of an encoder's head, until `detach_all`: no method takes it out.

        Args:
            number: Of classes.

        Returns:
            Full names of its parameters, which stand on the model whatever method is attached.
        """
        for name in self.family.HEADS:
            self._undo_classes.append(partial(setattr, self.model, name, getattr(self.model, name)))
            setattr(self.model, name, nn.Identity())
        self._undo_classes.append(partial(setattr, self, "sizes", self.sizes))
        layer = class_head.ClassHead(number, self.sizes.d_model)
        self.model.add_module(class_head.NAME, layer.to(self.device))
        self._undo_classes.append(partial(delattr, self.model, class_head.NAME))
        self.sizes = replace(self.sizes, num_classes=number)
        return [f"{class_head.NAME}.{name}" for name, _ in layer.named_parameters()]

    def parameters_named(self, names: Iterable[str]) -> dict[str, nn.Parameter]:
        """Return the parameters of these full names, in the order of `names`."""
        parameters = dict(self.model.named_parameters())
        return {name: parameters[name] for name in names}

    def tensors_named(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return the parameters and buffers of these full names, in the order of `names`."""
        tensors = {**dict(self.model.named_buffers()), **dict(self.model.named_parameters())}
        return {name: tensors[name] for name in names}

    def train_only(self, names: Iterable[str]) -> None:
        """Let exactly these parameters require gradients; `detach_all` puts base weights among them back."""
        names = list(names)
        self.keep(names)
        self.model.requires_grad_(False)
        for parameter in self.parameters_named(names).values():
            parameter.requires_grad_(True)

    def check_changes(self, names: Iterable[str]) -> None:
        """Refuse to change base weights that are packed.

        Raises:
            MethodError: They are, and some of the names are theirs.
        """
        if self.is_packed and set(self._base).intersection(names):
            raise quantized.refusal(self.name, "changes the model's own weights")

    def keep(self, names: Iterable[str]) -> None:
        """Copy base weights that are about to change (training, merging), so that `detach_all` can put them back."""
        names = list(names)
        self.check_changes(names)
        for name in set(self._base).intersection(names).difference(self._loaded):
            self._loaded[name] = self.model.get_parameter(name).detach().clone()

    def on_take_out(self, undo: Callable[[], None]) -> None:
        """Register `undo` to be called when all that was inserted is taken out, in reverse order."""
        self._undo.append(undo)

    def take_out(self) -> None:
        """Take out all that was inserted; changed weights stay as they are until `detach_all`."""
        while self._undo:
            self._undo.pop()()

    def detach_all(self) -> None:
        """Take out all that was inserted and put changed weights back: the backbone is as it was loaded."""
        self.take_out()
        while self._undo_classes:
            self._undo_classes.pop()()
        with torch.no_grad():
            for name, weight in self._loaded.items():
                self.model.get_parameter(name).copy_(weight)
        self._loaded.clear()
        self.model.requires_grad_(False).eval()
        self.model.zero_grad(set_to_none=True)

    def _adopt(self, parent: nn.Module, name: str, module: nn.Module, device: torch.device) -> None:
        parent.add_module(name, module.to(device))
        self._undo.append(lambda: delattr(parent, name))


def _uses(model: nn.Module) -> dict[str, list[tuple[nn.Module, str]]]:
    """List the modules that have each parameter, and under which name; tied parameters go by their first full name."""
    names: dict[nn.Parameter, str] = {}
    uses: dict[str, list[tuple[nn.Module, str]]] = {}
    for prefix, owner in model.named_modules():
        for leaf, parameter in owner.named_parameters(prefix, recurse=False, remove_duplicate=False):
            uses.setdefault(names.setdefault(parameter, leaf), []).append((owner, leaf.rpartition(".")[2]))
    return uses
