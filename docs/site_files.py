"""The files of the site, for mkdocs: pages keep the places that they have in a clone.

So a relative link leads to the same page in a clone and on the site. What is linked and is no
page itself (a script, a figure, a table) is copied as it is.
"""

import json
import pathlib
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
WORKER = "docs/iframe-worker.js"  # so called that the theme loads no other, from the network


def notebooks() -> list[str]:
    """Paths of the notebooks, in their order."""
    return [f"notebooks/{path.name}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


def results() -> list[str]:
    """Paths of the pages that the studies wrote."""
    found = sorted((ROOT / "experiments").glob("*/results/*.md"))
    return [str(path.relative_to(ROOT)) for path in found if not path.stem.endswith("_notes")]


def pages() -> list[str]:
    """Paths of all pages of the site, from the root of the clone."""
    guides = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
    own = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/README.md"]
    return [*own, *guides, *notebooks(), *results()]


def linked(page: str) -> set[str]:
    """Paths of the files of the clone that a page links to."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".ipynb"):
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    targets = {(ROOT / page).parent / target for target in LINK.findall(text)}
    files = {path.resolve() for path in targets if path.is_file()}
    return {str(path.relative_to(ROOT)) for path in files}


def on_config(config: MkDocsConfig) -> None:
    """Adds the notebooks and the studies, which are as many as there are, to the navigation."""
    config.nav = [
        *(config.nav or []),
        {"Notebooks": notebooks()},
        {"Studies": ["experiments/README.md", *results()]},
    ]


@event_priority(100)  # before the plugin that takes notebooks for pages
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """All files of the site; those of mkdocs itself and its plugins stay."""
    own = [file for file in files if file.src_dir != config.docs_dir]
    names = dict.fromkeys([*pages(), WORKER])
    for page in list(names):
        names |= dict.fromkeys(sorted(linked(page)))
    places = {"src_dir": str(ROOT), "dest_dir": config.site_dir, "use_directory_urls": False}
    return Files([*own, *(File(name, **places) for name in names)])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Guides and reference are found before pages full of numbers."""
    if page.file.src_uri.startswith("experiments/"):
        page.meta["search"] = {"boost": 0.2}


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Relative links of notebooks, which their plugin leaves as they are, and one to the file."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    folder = pathlib.PurePosixPath(page.file.src_uri).parent

    def moved(match: re.Match) -> str:
        target, anchor = match.group(1), match.group(2) or ""
        path = (ROOT / folder / target).resolve()
        file = files.get_file_from_path(str(path.relative_to(ROOT)))
        return f'href="{file.url_relative_to(page.file)}{anchor}"' if file else match.group()

    name = pathlib.PurePosixPath(page.file.src_uri).name
    own = f'<p><a href="{name}" download>This notebook as a file</a>, to open with jupyterlab.</p>'
    return own + re.sub(r'href="((?!https?:|#|data:)[^"#]+)(#[^"]*)?"', moved, html)
