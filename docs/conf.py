"""
How Sphinx builds the site from this repository's Markdown: `make docs`.

The root of the sources is the repository, so that a link to a file outside of `docs/` works here as it does where the
repository is read.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from docutils import nodes
from docutils.parsers import Parser

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from airflow_provider_kling_avatar import __version__ as release  # noqa: E402

project = "airflow-provider-kling-avatar"
project_copyright = "the authors; Apache License 2.0"
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "benchmarks/*.md", "example_dags/*.py"]
exclude_patterns = [".*", "build", "dist", "demo-output", "node_modules"]
source_suffix = {".md": "markdown", ".py": "python-file"}

html_theme = "furo"
html_title = f"Kling Avatar for Airflow {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False  # the Markdown lies beside each page
html_theme_options = {"navigation_with_keys": True}
highlight_language = "text"
pygments_style = "default"
pygments_dark_style = "github-dark"

myst_heading_anchors = 4

default_role = "py:obj"  # a name in single backticks: a link where the page has it, else code
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"


class PythonFile(Parser):
    """An example Dag as a page: its file's name, and what is in it."""

    supported: ClassVar[tuple[str, ...]] = ("python-file",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Show the whole file as code."""
        name = Path(document["source"]).name
        section = nodes.section("", nodes.title(name, name), ids=[nodes.make_id(name)])
        section += nodes.literal_block(inputstring, inputstring, language="python")
        document += section


def write_for_programs(app: Sphinx, error: Exception | None) -> None:
    """Lay each page's Markdown beside it, and at the root `llms.txt`, which lists them, and a way to the first page."""
    if error or app.builder.name != "html":
        return
    lines = [f"# {project}", "", f"> {html_title}: operators that turn a face and a voice into a video.", ""]
    for page in sorted(app.env.found_docs):
        source = app.env.doc2path(page)
        target = source.relative_to(app.srcdir)
        shutil.copyfile(source, app.outdir / target)
        sentence = first_sentence(source.read_text("utf-8")) if source.suffix == ".md" else "an example Dag"
        lines.append(f"- [{app.env.titles[page].astext()}]({target}): {sentence}")
    (app.outdir / "llms.txt").write_text("\n".join([*lines, ""]), "utf-8")
    (app.outdir / "index.html").write_text(
        '<!doctype html><meta charset="utf-8"><title>Documentation</title>'
        '<meta http-equiv="refresh" content="0; url=docs/index.html"><a href="docs/index.html">Documentation</a>\n',
        "utf-8",
    )


def first_sentence(markdown: str) -> str:
    """Return how a page begins, without its heading and links."""
    paragraphs = [part for part in markdown.split("\n\n") if part[:1].isalnum() or part[:1] == "["]
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(paragraphs[0].split())) if paragraphs else ""
    return re.split(r"(?<=[.:]) ", text)[0].rstrip(":") or "see there"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Tell Sphinx of the above."""
    app.add_source_parser(PythonFile)
    app.connect("build-finished", write_for_programs)
    return {"parallel_read_safe": True}
