"""Where a model lies: an embedded or packaged name, a local folder, a GGUF file or a hub id -> a path on disk."""

import difflib
import re
from pathlib import Path

from peftbench import registry
from peftbench.errors import ModelError
from peftbench.models import foreign, weights
from peftbench.models.gguf.header import SUFFIX

SETTINGS, MODULES = "peftbench.toml", "modules.json"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# The top folder only: many repositories hold further formats in subfolders.
TEXTS, TENSORS, PICKLES = ["*.json", "*.model", "*.txt", "*.toml", "*.jinja"], ["*.safetensors"], ["*.bin"]


def is_sentence_model(name: str) -> bool:
    """Whether a name is that of a sentence model: of a folder that says to hold one, or of an installed package."""
    folder, packaged = Path(name), registry.SENTENCE_MODELS.get(name)
    if packaged is not None and not folder.is_dir():
        return packaged.path() is not None
    return (folder / MODULES).is_file()


def find(name: str, revision: str | None = None, allow_pickle: bool = False, *, with_weights: bool = True) -> Path:
    """Find the folder or GGUF file of the model `name`, and download it where it is a hub id.

    Args:
        name: Of `list models`, of a folder or file, or a hub id.
        revision: Of a hub model.
        allow_pickle: Whether weights may be pickles.
        with_weights: Whether weights are downloaded; a tokenizer is read without.

    Raises:
        ModelError: Nothing is found under this name, it can be the name of no file, or the hub cannot be reached.
    """
    foreign.check_name(name)
    embedded = registry.embedded_models()
    if name in embedded:
        return _local(embedded[name], name, revision)
    if name in registry.PACKAGED:
        return _local(_packaged(name, registry.PACKAGED[name]), name, revision)
    if Path(name).is_dir() or name.lower().endswith(SUFFIX):
        return _local(_present(Path(name)), name, revision)
    if name in registry.SENTENCE_MODELS:
        return _local(_packaged(name, registry.SENTENCE_MODELS[name]).parent, name, revision)
    if HUB_ID.fullmatch(name) and not Path(name).exists():
        return _download(
            name, revision, [*TEXTS, *(TENSORS if with_weights else []), *(["*.bin"] if allow_pickle else [])]
        )
    names = [*embedded, *registry.PACKAGED, *registry.SENTENCE_MODELS]
    near = difflib.get_close_matches(name, names, n=1)
    guess = f"did you mean '{near[0]}'? " if near else ""
    raise ModelError(
        f"unknown model '{name}'",
        hint=f"{guess}known: {', '.join(names)}; or a Hugging Face folder, a GGUF file, or a hub id OWNER/NAME",
    )


def settings(name: str, path: Path) -> Path:
    """Name the file with a model's own settings: that of its folder, or this package's of a packaged model."""
    return (registry.PACKAGED[name].folder if name in registry.PACKAGED else path) / SETTINGS


def _packaged(name: str, packaged: registry.Packaged) -> Path:
    """Find the file of a packaged model in the installed package, which is not imported.

    Raises:
        ModelError: The package is not installed, or holds another file than the one that is known.
    """
    path = packaged.path()
    if path is None:
        raise ModelError(
            f"model '{name}' lies in the package {packaged.package}, which is not installed", hint=packaged.command
        )
    if weights.fingerprint([path]) != packaged.sha256:
        raise ModelError(
            f"'{path}' is another file than '{name}': the package {packaged.package} is of another version or damaged",
            hint=packaged.command,
        )
    return path


def _present(path: Path) -> Path:
    if not path.exists():
        raise ModelError(
            f"there is no file '{path}'", hint="a GGUF file, a Hugging Face folder, or a hub id OWNER/NAME"
        )
    return path


def _local(folder: Path, name: str, revision: str | None) -> Path:
    if revision is not None:
        raise ModelError(f"model '{name}' is local and has no revision '{revision}'", hint="leave --revision out")
    return folder


def _download(name: str, revision: str | None, wanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    local = "a local folder in the Hugging Face layout works as well"
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except GatedRepoError:
        hint = f"accept its terms there and log in with `hf auth login`; {local}"
        raise ModelError(f"model '{name}' is gated on the hub", hint=hint) from None
    except RepositoryNotFoundError:
        hint = f"check its spelling; {local}"
        raise ModelError(f"model '{name}' is neither a folder here nor known to the hub", hint=hint) from None
    except RevisionNotFoundError:
        raise ModelError(f"model '{name}' has no revision '{revision}' on the hub") from None
    except Exception as error:  # the network fails in many ways, in several libraries' classes
        reason = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
        raise ModelError(
            f"model '{name}' is no folder here, and the hub could not be reached: {reason}",
            hint=f"check the network and HF_HUB_OFFLINE; {local}",
        ) from error
