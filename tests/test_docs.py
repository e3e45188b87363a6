"""What the pages of the documentation quote is what the package says, and what they show can be read by who is to."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = {
    str(page.relative_to(ROOT)): page.read_text("utf-8")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
ERRORS = PAGES["docs/errors.md"].partition("## You see, do")[2].partition("## The tree")[0]
SEEN = re.findall(r"^\| (`.+?) \| ", ERRORS, re.MULTILINE)
COMMANDS = {
    "kling-avatar-simulator": ["-m", "airflow_provider_kling_avatar.simulator"],
    "kling-avatar": ["-c", "from airflow_provider_kling_avatar.cli import main; main()"],
}


def blocks(language):
    """Return the code blocks of a language, by the page and line where they begin."""
    found = {}
    for name, text in PAGES.items():
        for block in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            found[f"{name}:{text.count(chr(10), 0, block.start()) + 2}"] = block[1]
    return found


def told(node):
    """Return a text of the source, ``…`` for what is filled in; ``None`` if it is none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(told(value) or "" for value in node.values)
    return "…" if isinstance(node, ast.FormattedValue) else None


@cache
def messages():
    sources = [*ROOT.glob("airflow_provider_kling_avatar/**/*.py")]
    trees = [ast.parse(path.read_text("utf-8")) for path in sources if "simulator" not in path.parts]
    return [text for tree in trees for node in ast.walk(tree) if (text := told(node))]


def is_told(fragment):
    pattern = re.compile(".*".join(map(re.escape, fragment.strip("…").split("…"))), re.DOTALL)
    return any(pattern.search(message) for message in messages())


@pytest.mark.parametrize("seen", SEEN)
def test_each_message_that_the_page_of_errors_quotes_is_one_of_ours(seen):
    fragments = re.findall(r"`([^`]+)`", seen)

    assert fragments
    assert [fragment for fragment in fragments if not is_told(fragment)] == []


def test_a_message_that_nobody_says_is_found_out():
    assert len(SEEN) > 30
    assert not is_told("the connection's … has run away")


@pytest.mark.parametrize("block", blocks("json").items(), ids=lambda block: block[0])
def test_json_can_be_read(block):
    for text in re.split(r"\n(?=[{\[])", block[1].strip()):
        json.loads(text)


@pytest.mark.parametrize("block", blocks("python").items(), ids=lambda block: block[0])
def test_python_can_be_compiled(block):
    compile(block[1], block[0], "exec")


def commands():
    """Return the lines of all blocks that call a command of ours, by page and line."""
    lines = blocks("(?:bash|sh|console)?") | {"README.md": PAGES["README.md"]}
    text = "\n".join(lines.values()).replace("\\\n", " ")
    return sorted(set(re.findall(r"^(?:kling-avatar|kling-avatar-simulator)(?: .*)?$", text, re.MULTILINE)))


@cache
def help_of(command, *subcommand):
    line = [sys.executable, *COMMANDS[command], *subcommand, "--help"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@pytest.mark.parametrize("line", commands())
def test_a_command_of_ours_takes_the_options_that_are_shown(line):
    command, *words = line.split("#")[0].split()
    subcommand = [word for word in words[:1] if not word.startswith("-")]
    options = {word.partition("=")[0] for word in words if word.startswith("--")}

    text = help_of(command, *subcommand)
    assert [option for option in options if not re.search(rf"{option}\b(?!-)", text)] == []


def test_commands_of_ours_are_shown_at_all():
    assert {line.split()[0] for line in commands()} == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_each_make_target_that_a_page_names_is_there(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

    assert set(re.findall(r"`make ([a-z-]+)", PAGES[page])) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_each_file_that_a_page_links_to_is_there(page):
    prose = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(((?!http)[^)#\s]+)", prose)

    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("file", sorted((ROOT / "example_dags").glob("*.py")), ids=lambda file: file.stem)
def test_each_example_is_in_the_table_of_examples_with_its_dag(file):
    dag_id = re.search(r"dag_id=\"(\w+)\"", file.read_text("utf-8"))[1]
    row = f"| [{file.name}](../example_dags/{file.name}) | `{dag_id}` |"

    assert row in PAGES["docs/example-dags.md"]


def test_a_pool_that_an_example_needs_is_made_before_the_examples_are_listed():
    pools = {
        pool
        for file in (ROOT / "example_dags").glob("*.py")
        for pool in re.findall(r"\bpool=\"(\w+)\"", file.read_text("utf-8"))
    }
    before = PAGES["docs/example-dags.md"].partition("\n| file |")[0]

    assert pools
    for pool in pools:
        assert f"\nairflow pools set {pool} " in before


@pytest.mark.parametrize("page", PAGES)
def test_a_page_installs_from_the_checkout_as_long_as_the_package_is_on_no_index(page):
    assert "the package is not on PyPI" in PAGES["README.md"]
    assert re.findall(r"pip install \S*airflow-provider-kling-avatar\S*", PAGES[page]) == []


def crooked_rows(text):
    """Return the lines of tables that are not shown as meant: as no table, or with other cells than the head has."""
    lines = text.splitlines()
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    code = {number for token in tokens if token.type == "fence" for number in range(*token.map)}
    cells = [len(re.split(r"(?<!\\)\|", line.strip())) for line in lines]
    crooked = {number for number, line in enumerate(lines) if line.startswith("|")} - code
    for table in tokens:
        if table.type == "table_open":
            first, end = table.map
            crooked -= {number for number in range(first, end) if cells[number] == cells[first]}
    return [lines[number] for number in sorted(crooked)]


@pytest.mark.parametrize("page", PAGES)
def test_every_table_of_a_page_is_shown_as_one(page):
    assert crooked_rows(PAGES[page]) == []


@pytest.mark.parametrize(
    "row", ["| c |", "| c | d | e |", "| `c|d` | e |", "", "| c \\| d | e |", "| `c\\|d` | e |"]
)
def test_a_row_that_loses_or_lacks_a_cell_is_found_out(row):
    shown = row == "" or "\\|" in row

    assert crooked_rows(f"| a | b |\n|---|---|\n{row}") == ([] if shown else [row])
    assert crooked_rows(f"| a | b |\n|---|\n{row}")[0] == "| a | b |"


# ------------------------------------------------------------------------------------------ words of the log

GLOSSARY = PAGES["docs/glossary.md"]
PRINTED_LOGS = [block for block in blocks("").values() if "video ready: task" in block]
PLAIN_WORDS = """
added ago already although beginning broke but bytes cancel cannot characters could created currencies
delivered down every expected expired free function handed held here killed least led left length line
long longer measured number off official over picks place plain relied resumed sending still taken than
then told until watched whether whoever write yet
"""
"""What the log says and everybody knows, beside the words that the glossary itself explains with."""


def logged():
    """Return what the package logs, without what is filled in, and the logs that pages print."""
    for path in ROOT.glob("airflow_provider_kling_avatar/**/*.py"):
        if not {"simulator", "testing"} & set(path.parts):
            for call in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(call, ast.Call) and re.search(
                    r"\blog\.(info|warning)$", ast.unparse(call.func)
                ):
                    yield from (told(node) or "" for node in ast.walk(call.args[0]))
    yield from PRINTED_LOGS


def words(text):
    """Return the words of a text; names of code, ids, paths and addresses are none."""
    text = re.sub(r"%[-.\d]*[a-z]|\S*[/_@:…]\S+|\S*\d-\S*|[0-9a-f]{20,}|\b[A-Z][a-z]+[A-Z]\w*\b", " ", text)
    return {word.lower() for word in re.findall(r"[A-Za-z]{3,}(?:256)?", text)}


def stem(word):
    return re.sub(r"(?<=..)(?:ing|ed|es|s|d|ly)$", "", word)


def unexplained(texts):
    known = {stem(word) for word in words(GLOSSARY + PLAIN_WORDS)}
    return sorted({word for text in texts for word in words(text) if stem(word) not in known})


def test_no_word_of_the_log_is_one_that_only_a_programmer_knows():
    assert len(PRINTED_LOGS) == 2
    assert unexplained(logged()) == []


def test_a_word_of_programmers_in_the_log_would_be_found_out():
    assert unexplained(["the clip was fetched idempotently, semaphore %s"]) == ["idempotently", "semaphore"]
