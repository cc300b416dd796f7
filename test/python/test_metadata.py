"""The version, the licence and the descriptions of all kinds of packages agree."""

import json
import re
import tomllib
from pathlib import Path

import build_deb
import pgkeymgr

TOP = Path(__file__).parents[2]
CONTROL = dict(
    re.findall(r"^(\w+) = '(.*)'$", (TOP / "pgkeymgr.control").read_text(encoding="utf-8"), re.MULTILINE)
)
META = json.loads((TOP / "META.json").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_versions() -> None:
    version = pgkeymgr.__version__
    assert CONTROL["default_version"] == version
    assert META["version"] == META["provides"]["pgkeymgr"]["version"] == version
    assert PROJECT["dynamic"] == ["version"]
    (newest, *_) = re.findall(r"^## (\S+)", (TOP / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest == version
    page = (TOP / "docs" / "installation.md").read_text(encoding="utf-8")
    assert set(re.findall(r"pgkeymgr[_-](\d+\.\d+\.\d+)", page)) == {version}


def test_licence() -> None:
    assert PROJECT["license"] == "PostgreSQL"
    assert META["license"] == "postgresql"
    assert (TOP / "LICENSE").read_text(encoding="utf-8").startswith("PostgreSQL License\n")


def test_descriptions() -> None:
    assert META["abstract"] == META["provides"]["pgkeymgr"]["abstract"]
    assert META["abstract"].lower() == CONTROL["comment"]
    assert PROJECT["description"].lower().startswith(build_deb.SUMMARY.lower())


def test_requirements() -> None:
    """The oldest versions of PostgreSQL and Python are those that docs/installation.md names."""
    page = (TOP / "docs" / "installation.md").read_text(encoding="utf-8")
    found = re.search(r"PostgreSQL (\d+) or newer with PL/Python, and Python (\S+) or newer", page)
    assert found
    postgresql, python = found.groups()
    assert META["prereqs"]["runtime"]["requires"]["PostgreSQL"] == f"{postgresql}.0.0"
    assert PROJECT["requires-python"] == f">={python}"
