"""The documents about the tree: what they name is there, and what is there is named."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("codecs", "rtp", "sip", "gateway")
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOT_SHIPPED = ("README", "make.sh", "index.json")
"""How speech was made."""


def _files() -> list[str]:
    """All files of the tree, with slashes, without what is made in it."""
    return [
        path.relative_to(ROOT).as_posix()
        for folder in (*ROOMS, "tests", "docs", "conf", "packaging", "bench", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ] + [path.name for path in ROOT.iterdir() if path.is_file()]


FILES = _files()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_is_named_exists(page):
    """A page may leave out the folder that it has just named."""
    named = set(re.findall(r"`((?:[\w.-]+/)*\w+\.(?:py|html|css|sh|toml|service|yml))`", page.read_text("utf-8")))
    assert [name for name in sorted(named) if not any(f"/{file}".endswith(f"/{name}") for file in FILES)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, link


def test_every_page_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[2:] if page.name not in readme] == []


def test_every_dependency_has_its_reason():
    table = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## Dependencies")[1].split("\n## ")[0].lower()
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["postgresql"]]
    names = [re.match(r"[\w-]+", line)[0] for line in wanted]
    assert [name for name in names if name not in table and name.replace("-", "_") not in table] == []


def test_every_dependency_is_pinned():
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()}
    groups = PROJECT["dependency-groups"]["dev"]
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["postgresql"], *groups]
    assert [line for line in wanted if re.match(r"[\w-]+", line)[0].lower() not in pinned] == []


def test_every_package_is_installed_with_its_files():
    listed = PROJECT["tool"]["setuptools"]
    folders = {path.rpartition("/")[0] for path in FILES if path.startswith(ROOMS) and path.endswith(".py")}
    assert {f"trunkline.{folder.replace('/', '.')}" for folder in folders} == set(listed["packages"])
    shipped = [
        f"{package.removeprefix('trunkline.').replace('.', '/')}/{pattern}"
        for package, patterns in listed["package-data"].items()
        for pattern in patterns
    ]
    data = [file for file in FILES if file.split("/")[0] in ROOMS and not file.endswith(".py")]
    left_out = [file for file in data if not any(fnmatch(file, pattern) for pattern in shipped)]
    assert [file for file in left_out if file.rpartition("/")[2] not in NOT_SHIPPED] == []
