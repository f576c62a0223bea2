"""All commands on a tiny GGUF file, against the same model as a folder."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from peftbench.cli.app import main
from peftbench.models.load import load
from peftbench.store.results import Store
from tests.gguf_files import tiny_model, write

FILE = "tiny.gguf"
ROWS = [(f"the premise number {i}", "yes" if i % 2 else "no") for i in range(8)]
DATA = ["--train", "rows.csv", "--test", "rows.csv", "--template", "{{text}} true? ||| {{label}}"]
DATA += ["--choices", "no,yes", "-q"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with the file, rows, and an adapter that was tuned on it."""
    root = tmp_path_factory.mktemp("gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write(Path(FILE), tiny_model("llama"), "Q4_1", tokenizer__chat_template="{{ messages }}")
        pd.DataFrame(ROWS, columns=["text", "label"]).to_csv("rows.csv", index=False)
        tune = ["tune", "--model", FILE, "--method", "lora", "--shots", "4", *DATA]
        assert main([*tune, "--set", "num_steps=3", "--set", "lr=0.1"]) == 0
    return root


@pytest.fixture(autouse=True)
def folder(root, monkeypatch):
    monkeypatch.chdir(root)


def adapter():
    (path,) = Path("results", "adapters").iterdir()
    return path


def output(capsys, *words):
    assert main([*words]) == 0
    return capsys.readouterr()


def log_probs(root, method):
    (record,) = (record for record in Store(Path(root)).all() if record.learned.method == method)
    return torch.tensor(Store(Path(root)).read_scores(record.id)["log_prob"].to_numpy())


def test_the_record_names_the_quantisation_and_the_report_says_it_once(capsys):
    for record in Store(Path("results")).all():
        assert (record.model.quantization, record.model.family) == ("Q4_1", "llama")
        assert "quantization" not in json.dumps(record.identity)
        assert "model_sha256" not in record.identity
    text = " ".join(output(capsys, "report").out.split())
    assert text.count("Q4_1 weights of a GGUF file, dequantised on loading") == 1


def test_what_is_folded_scores_as_the_adapter_does(capsys):
    output(capsys, "export", str(adapter()), "merged", "--to", "merged")
    config = json.loads(Path("merged", "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "float32"
    output(capsys, "icl", "--model", "merged", "--shots", "0", "--results", "folded", *DATA)
    torch.testing.assert_close(log_probs("folded", None), log_probs("results", "lora"), rtol=0, atol=1e-5)
    written, read = load("merged", device="cpu").tokenizer, load(FILE, device="cpu").tokenizer
    for text in ("the premise 12  é\n\n3", "<s>x", ""):
        assert written(text, return_offsets_mapping=True).data == read(text, return_offsets_mapping=True).data
    assert written.chat_template == read.chat_template


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers' own, as peft asks what became deprecated
def test_what_peft_gets_says_how_its_model_is_loaded(capsys):
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    said = output(capsys, "export", str(adapter()), "for-peft", "--to", "peft").err
    call = f"'.', gguf_file='{FILE}'"
    assert call in said
    assert f"AutoModelForCausalLM.from_pretrained({call})" in Path("for-peft", "README.md").read_text()
    assert json.loads(Path("for-peft", "adapter_config.json").read_text())["base_model_name_or_path"] == FILE
    base = transformers.AutoModelForCausalLM.from_pretrained(".", gguf_file=FILE, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, "for-peft").eval()
    output(capsys, "export", str(adapter()), "beside-peft", "--to", "merged")
    ids = torch.tensor([[5, 9, 20, 31, 7]])
    with torch.no_grad():
        logits, ours = model(input_ids=ids).logits, load("beside-peft", device="cpu").model(input_ids=ids).logits
    torch.testing.assert_close(logits, ours, rtol=0, atol=1e-4)


def test_an_adapter_is_used_on_its_file_and_on_no_other(capsys):
    out = output(capsys, "predict", "--adapter", str(adapter()), "--input", "rows.csv", "-q").out
    assert len(out.splitlines()) == len(ROWS)
    write(Path("other.gguf"), tiny_model("llama"), "Q8_0")
    assert main(["export", str(adapter()), "no", "--to", "merged", "--model", "other.gguf"]) == 2
    assert "has other weights" in capsys.readouterr().err
    assert not Path("no").exists()


def test_costs_are_those_of_the_dequantised_model(capsys):
    costs = ["cost", "--method", "lora", "--format", "json"]
    ours = json.loads(output(capsys, *costs, "--model", FILE).out)
    output(capsys, "export", str(adapter()), "merged-2", "--to", "merged")
    folder = json.loads(output(capsys, *costs, "--model", "merged-2").out)
    assert json.dumps(ours).replace(FILE, "merged-2") == json.dumps(folder)
    said = output(capsys, "cost", "--method", "lora", "--model", FILE).err
    assert f"peftbench tune --model {FILE} --method lora" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["icl", "--model", FILE, "--revision", "main", "--shots", "4", *DATA], "is local and has no revision 'main'"),
        (["icl", "--model", "none.gguf", "--shots", "4", *DATA], "there is no file 'none.gguf'"),
        (["cost", "--model", "none.gguf"], "there is no file 'none.gguf'"),
        (["cost", "--model", "cut.gguf"], "its tensors end at byte"),
        (["icl", "--model", "cut.gguf", "--shots", "4", *DATA], "its tensors end at byte"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line_and_nothing_is_written(words, message, capsys):
    Path("cut.gguf").write_bytes(Path(FILE).read_bytes()[:-100])
    before = sorted(Path().rglob("*"))
    assert main([*words, "--results", "nothing"] if words[0] == "icl" else words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "\n\nhint: " in error
    assert sorted(Path().rglob("*")) == before
