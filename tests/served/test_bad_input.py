"""What nobody can serve is one line and a hint, and a key that was typed into an address stands in none."""

import pytest

from peftbench.cli.app import main
from peftbench.served import client
from peftbench.spec.cell import Server

SERVED, LOADABLE = "icl --model served:mini-gpt --server http://127.0.0.1:1", "loaded here"


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("icl --model served:mini-gpt --server http://127.0.0.1:1", "nothing listens there", "is it running?"),
        ("icl --model served:x --server here --tokenizer mini-gpt", "'here' is no address", "http://HOST:PORT"),
        ("icl --model served:x", "no tokenizer: unknown model 'x'", "--tokenizer NAME"),
        ("icl --server http://127.0.0.1:1", "--server goes with a served model", "served:NAME"),
        ("icl --concurrency 4", "--concurrency goes with a served model", "served:NAME"),
        (f"{SERVED} --tokenizer nothing", "unknown model 'nothing'", "known: "),
        (f"{SERVED} --key-variable NO_KEY", "NO_KEY, which", "export NO_KEY"),
        (f"{SERVED} --config mini-t0", "is of an encoder-decoder", "own config"),
        (f"{SERVED} --as-prefix", "keys and values, which a server does not give", LOADABLE),
        (f"{SERVED} --attention block", "keys and values, which a server does not give", LOADABLE),
        (f"{SERVED} --select embedding", "hidden states, which a server does not give", "--embedder FOLDER"),
        (f"{SERVED} --select kmeans", "hidden states, which a server does not give", "balanced"),
        (f"{SERVED} --dtype bfloat16", "dtype, revision and load are the server's", "the server was started"),
        ("tune --method ia3 --model served:x", "a server gives no weights to tune", "icl --model served:x"),
        ("tune --method knn --model served:x", "a server gives no weights to tune", "icl --model served:x"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(words, message, hint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client, "RETRIES", 0)
    assert main(words.split()) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line for line in lines if line.startswith("error: ") and message in line]
    assert any(line.startswith("hint: ") and hint in line for line in lines)
    assert not list(tmp_path.glob("results/records/*"))


@pytest.mark.parametrize("url", ["https://me:sk-secret@h", "https://h/?key=sk-secret", "https://h/#sk-secret"])
def test_a_key_that_stands_in_an_address_is_shown_nowhere(url, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["icl", "--model", "served:x", "--tokenizer", "mini-gpt", "--server", url]) == 2
    text = "".join(capsys.readouterr())
    assert "sk-secret" not in text
    assert "--key-variable names the environment variable" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["http://h:80", "http://h:80/", "http://h:80/v1", "http://h:80/v1/"])
def test_the_address_is_the_servers_with_and_without_v1(url):
    assert Server(url=url).url == "http://h:80"
