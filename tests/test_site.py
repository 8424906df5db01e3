"""The site is built without a warning, and shows every public name with words of its own."""

import json
import os
import pathlib
import re
import subprocess
import sys

import griffe
import pytest

pytestmark = pytest.mark.slow(20)  # all of them together
ROOT = pathlib.Path(__file__).parents[1]
ROOMS = [page.stem for page in sorted((ROOT / "docs" / "api").glob("*.md"))]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site; ``strict`` makes a broken link or anchor, or a page that no menu
    shows, an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def library():
    """The library as the site reads it, without importing it."""
    return griffe.load("softeq_jax", search_paths=[str(ROOT)], resolve_aliases=True)


def public(module, path):
    """Public names of a room and of the rooms within it, from path to object."""
    found = {}
    exported = [str(getattr(name, "name", name)) for name in module.exports or ()]
    for name in exported or module.members:
        member = module.members[name]
        if not exported and (name.startswith("_") or member.is_alias or member.is_attribute):
            continue  # a file that lists nothing: what it imports and its abbreviations
        target = member.final_target if member.is_alias else member
        if not target.is_module:
            found[f"{path}.{name}"] = target
        elif path != "softeq_jax":
            found |= public(target, f"{path}.{name}")
    return found


def names_of(library, room):
    return public(library, room) if room == "softeq_jax" else public(library[room], room)


def undocumented(name, target):
    """What has no docstring: the name itself, or a method or property that no base explains."""
    if not target.docstring:
        yield name
    if target.is_class:
        lineage = [target, *target.mro()]
        explained = {name for base in lineage for name, m in base.members.items() if m.docstring}
        for member, found in target.members.items():
            if found.is_function and not member.startswith("_") and member not in explained:
                yield f"{name}.{member}"


def test_every_room_has_a_page(library):
    rooms = {str(name) for name in library.exports if library[str(name)].is_module}
    assert set(ROOMS) == {*rooms, "softeq_jax"}


def test_every_public_name_is_explained(library):
    missing = [
        path
        for room in ROOMS
        for name, target in names_of(library, room).items()
        for path in undocumented(name, target)
    ]
    assert not missing


def test_the_site_shows_every_public_name(site, library):
    for room in ROOMS:
        shown = set(re.findall(r'id="([\w.]+)"', (site / f"docs/api/{room}.html").read_text()))
        last = {anchor.rpartition(".")[2] for anchor in shown}
        names = {name.rpartition(".")[2] for name in names_of(library, room)}
        assert len(names) >= 9
        assert names <= last, room


def test_the_site_is_searched_and_needs_no_network(site):
    text = (site / "search" / "search_index.js").read_text()
    index = json.loads(text[text.index("{") : text.rindex("}") + 1])
    found = {doc["location"] for doc in index["docs"] if "projector" in doc["title"].lower()}
    assert any(location.startswith("docs/api/softeq_jax.html") for location in found)
    for page in site.rglob("*.html"):
        text = page.read_text()
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)"', text)
        assert not loaded, f"{page.relative_to(site)} loads {loaded[0]}"
