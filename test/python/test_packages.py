"""The packages that make deb and make sbom write. test/packages/run installs them; this looks at small ones."""

import hashlib
import os
import subprocess
from itertools import pairwise
from pathlib import Path

import build_deb
import pgkeymgr
import pytest
import sbom
from installed import PREFIX

TOP = Path(__file__).parents[2]
EPOCH = 1_700_000_000
LIBRARIES = PREFIX / "lib" / "pgkeymgr" / pgkeymgr.__version__


def stage(top: Path) -> Path:
    """Make an installation with the prefix /usr that has a file of each kind."""
    extension = "usr/share/postgresql/15/extension"
    for place, text in {
        "usr/bin/pgkeymgr": "#!/usr/bin/python3.11 -I\n",
        "usr/lib/pgkeymgr/1.2.3/cp311/pgkeymgr/__init__.py": "",
        "usr/lib/pgkeymgr/1.2.3/cp311/some-4.5.dist-info/METADATA": "Name: some\nVersion: 4.5\nLicense: MIT\n\nx",
        "usr/lib/pgkeymgr/1.2.3/cp311-command/typer.py": "",
        "usr/share/pgkeymgr/getkey.sample": "",
        "usr/share/pgkeymgr/pgkeymgr-agent.service": "",
        "usr/share/doc/pgkeymgr/LICENSE": "",
        "usr/share/doc/pgkeymgr/docs/agent.md": "",
        "usr/share/man/man1/pgkeymgr.1": ".TH PGKEYMGR 1\n",
        "usr/share/bash-completion/completions/pgkeymgr": "",
        "usr/share/zsh/site-functions/_pgkeymgr": "",
        "usr/share/fish/vendor_completions.d/pgkeymgr.fish": "",
        f"{extension}/pgkeymgr.control": "",
        f"{extension}/pgkeymgr--1.2.3.sql": "",
    }.items():
        (top / place).parent.mkdir(parents=True, exist_ok=True)
        (top / place).write_text(text)
    return top


def field(package: Path, name: str) -> str:
    done = subprocess.run(["dpkg-deb", "--field", package, name], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def contents(package: Path) -> dict[str, str]:
    """Return the modes and owners of the files in a package, by path."""
    done = subprocess.run(["dpkg-deb", "--contents", package], check=True, capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert {f"{line[3]} {line[4]}" for line in lines} == {"2023-11-14 22:13"}
    return {line[5].removeprefix("./"): f"{line[0]} {line[1]}" for line in lines if line[0].startswith("-")}


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


def test_two_packages(tmp_path: Path) -> None:
    """Two PostgreSQLs share the package of the command."""
    tools, extension = build_deb.make_packages(
        stage(tmp_path / "stage"), "1.2.3", "15", EPOCH, tmp_path / "packages"
    )
    suffix = build_deb.release_suffix()
    assert extension.name == f"postgresql-15-pgkeymgr_1.2.3-1{suffix}_all.deb"
    assert tools.name.startswith(f"pgkeymgr_1.2.3-1{suffix}_")
    assert field(tools, "Depends") == "python3.11"
    depends = f"postgresql-15, postgresql-plpython3-15, pgkeymgr (= 1.2.3-1{suffix})"
    assert field(extension, "Depends") == depends
    plain, program = "-rw-r--r-- root/root", "-rwxr-xr-x root/root"
    assert contents(extension) == {
        "usr/share/postgresql/15/extension/pgkeymgr.control": plain,
        "usr/share/postgresql/15/extension/pgkeymgr--1.2.3.sql": plain,
        "usr/share/doc/postgresql-15-pgkeymgr/copyright": plain,
        "usr/share/doc/postgresql-15-pgkeymgr/changelog.Debian.gz": plain,
        "usr/share/lintian/overrides/postgresql-15-pgkeymgr": plain,
    }
    files = contents(tools)
    assert files["usr/bin/pgkeymgr"] == program
    assert {mode for name, mode in files.items() if name != "usr/bin/pgkeymgr"} == {plain}
    assert files.keys() >= {
        "usr/lib/systemd/system/pgkeymgr-agent.service",
        "usr/lib/pgkeymgr/1.2.3/cp311-command/typer.py",
        "usr/share/man/man1/pgkeymgr.1.gz",
        "usr/share/bash-completion/completions/pgkeymgr",
        "usr/share/zsh/vendor-completions/_pgkeymgr",
        "usr/share/fish/vendor_completions.d/pgkeymgr.fish",
        "usr/share/doc/pgkeymgr/docs/agent.md",
        "usr/share/doc/pgkeymgr/copyright",
    }
    copyright_ = (tmp_path / "pgkeymgr/usr/share/doc/pgkeymgr/copyright").read_text()
    assert "some 4.5: MIT\n    /usr/lib/pgkeymgr/1.2.3/cp311/some-4.5.dist-info\n" in copyright_


def test_the_same_bytes(tmp_path: Path) -> None:
    """They do not depend on the modes, times and places of the files that they are made of."""
    sums = []
    for number, mode in enumerate((0o600, 0o664)):
        place = tmp_path / ("place" * (number + 1))
        for path in stage(place / "stage").rglob("*"):
            if path.is_file():
                path.chmod(mode)
                os.utime(path, (EPOCH + number, EPOCH * (number + 1) // 2))
        packages = build_deb.make_packages(place / "stage", "1.2.3", "15", EPOCH, place / "packages")
        sums.append([hashlib.sha256(package.read_bytes()).hexdigest() for package in packages])
    assert sums[0] == sums[1]


def test_each_file_is_in_a_package(tmp_path: Path) -> None:
    (stage(tmp_path / "stage") / "usr/share/forgotten").write_text("")
    with pytest.raises(build_deb.PackageError, match=r"no package has .*/usr/share/forgotten"):
        build_deb.make_packages(tmp_path / "stage", "1.2.3", "15", EPOCH, tmp_path / "packages")


def test_libraries_of_two_pythons(tmp_path: Path) -> None:
    (stage(tmp_path / "stage") / "usr/lib/pgkeymgr/1.2.3/cp312").mkdir()
    with pytest.raises(build_deb.PackageError, match="the libraries of 2 versions of Python"):
        build_deb.make_packages(tmp_path / "stage", "1.2.3", "15", EPOCH, tmp_path / "packages")


def test_dependencies_of_compiled_libraries(tmp_path: Path) -> None:
    """The installed ones need the C library and what each Debian has."""
    found = build_deb.library_dependencies(LIBRARIES)
    assert found
    assert found[0].startswith("libc6 (>= 2.")
    assert set(found[1:]) <= {"libgcc-s1", "zlib1g", "libstdc++6"}
    (sodium,) = LIBRARIES.glob("cp3[0-9][0-9]/nacl/_sodium*.so")
    content = sodium.read_bytes()
    assert "libc.so.6" in set(build_deb.needed_libraries(content))
    (tmp_path / "other.so").write_bytes(content.replace(b"\0libc.so.6\0", b"\0libx.so.6\0"))
    with pytest.raises(build_deb.PackageError, match=r"other\.so needs libx\.so\.6"):
        build_deb.library_dependencies(tmp_path)
    with pytest.raises(build_deb.PackageError, match="64 bits"):
        list(build_deb.needed_libraries(b"\x7fELF\x01" + content[5:]))


def test_names_of_releases(tmp_path: Path) -> None:
    """A newer release has a later one, for dpkg."""
    release = tmp_path / "os-release"
    suffixes = []
    for text in ('VERSION_ID="12"\n', 'VERSION_ID="13"\n', "ID=debian\n"):
        release.write_text(text)
        suffixes.append(build_deb.release_suffix(release))
    assert suffixes == ["~deb12", "~deb13", "~sid"]
    for older, newer in pairwise(suffixes):
        subprocess.run(["dpkg", "--compare-versions", f"1.0.0-1{older}", "lt", f"1.0.0-1{newer}"], check=True)


def test_bill_of_materials() -> None:
    """It has each library that is installed, with the hashes that pip checks."""
    trees = list(LIBRARIES.glob("cp*"))
    bill = sbom.document("1.2.3", EPOCH, trees)
    installed = {path.name.removesuffix(".dist-info") for tree in trees for path in tree.glob("*.dist-info")}
    components = {f"{each['name']}-{each['version']}": each for each in bill["components"]}
    assert set(components) == {name.replace("_", "-") for name in installed}
    assert {"cryptography", "pynacl", "psycopg", "typer"} <= {each["name"] for each in bill["components"]}
    locked = (TOP / "requirements/runtime.txt").read_text() + (TOP / "requirements/command.txt").read_text()
    for each in components.values():
        assert each["hashes"]
        assert all(f"--hash=sha256:{entry['content']}" in locked for entry in each["hashes"])
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert sbom.document("1.2.3", EPOCH, trees[::-1]) == bill
    assert sbom.document("1.2.4", EPOCH, trees)["serialNumber"] != bill["serialNumber"]


def test_bill_of_another_library(tmp_path: Path) -> None:
    """A library that was not installed by its hash has none."""
    with pytest.raises(sbom.MaterialError, match="run make first"):
        sbom.document("1.2.3", EPOCH, [tmp_path])
    place = tmp_path / "other-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Name: other\nVersion: 1.0\n\n")
    with pytest.raises(sbom.MaterialError, match=r"other 1\.0 is not in requirements"):
        sbom.document("1.2.3", EPOCH, [tmp_path])


def test_hashes_of_requirements() -> None:
    one, two = "1" * 64, "2" * 64
    text = (
        f"Some_Name==1.0 ; python_version < '4' \\\n    --hash=sha256:{two} \\\n    --hash=sha256:{one}\n"
        f"other==2 \\\n    --hash=sha256:{one}\n"
    )
    assert sbom.locked_hashes(text) == {
        ("some-name", "1.0"): [one, two],
        ("other", "2"): [one],
    }
