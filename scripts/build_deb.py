r"""Make Debian packages of an installation in a directory: ``make deb``.

    python scripts/build_deb.py --stage DIRECTORY --version VERSION --postgresql 15 --epoch SECONDS \
        --output DIRECTORY

The stage is what ``make install DESTDIR=… PREFIX=/usr`` has made. Two packages come from it:

- ``pgkeymgr`` has the command, the libraries, the agent's unit, the samples and the pages;
- ``postgresql-15-pgkeymgr`` has the extension's files for that PostgreSQL, and depends on the first.

Therefore two PostgreSQLs of a machine can have the extension, which pg_upgrade needs. The packages are for the
Debian release that they are built on, since the libraries are for its Python. The same stage and epoch give the
same bytes. Only dpkg is needed.
"""

import argparse
import gzip
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from email.message import Message
from email.parser import HeaderParser
from email.utils import formatdate
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
MAINTAINER = "The pgkeymgr maintainers <pgkeymgr@localhost>"
REVISION = "1"

SUMMARY = "key management and column encryption inside PostgreSQL"
DESCRIPTION = """\
 pgkeymgr encrypts columns of tables in use, and manages their keys with
 versions, grants, expiry and rotation. A root key from outside of the
 database, from a script, an agent process, a token or a key service,
 encrypts these keys."""

LIBRARY_PACKAGES = {
    "libc.so.6": "libc6",
    "libm.so.6": "libc6",
    "libdl.so.2": "libc6",
    "librt.so.1": "libc6",
    "libpthread.so.0": "libc6",
    "ld-linux-x86-64.so.2": "libc6",
    "ld-linux-aarch64.so.1": "libc6",
    "libresolv.so.2": "libc6",
    "libutil.so.1": "libc6",
    "libgcc_s.so.1": "libgcc-s1",
    "libstdc++.so.6": "libstdc++6",
    "libz.so.1": "zlib1g",
}
"""The packages of the libraries that wheels may expect on every machine."""


class PackageError(Exception):
    """The stage is not what a package can be made of."""


def library_dependencies(directory: Path) -> list[str]:
    """Return the packages that the compiled libraries below a directory need, for the field Depends.

    Raises:
        PackageError: a library needs something that neither a wheel has nor Debian is known to have.
    """
    compiled = [path for path in directory.rglob("*.so*") if path.is_file()]
    bundled = {path.name for path in compiled}
    needed, glibc = set(), (2, 0)
    for path in compiled:
        content = path.read_bytes()
        names = set(needed_libraries(content))
        for name in names - bundled:
            if name not in LIBRARY_PACKAGES:
                raise PackageError(f"{path} needs {name}, which no package is known for")
            needed.add(LIBRARY_PACKAGES[name])
        found = [(int(major), int(minor)) for major, minor in re.findall(rb"GLIBC_(\d+)\.(\d+)", content)]
        glibc = max([glibc, *found])
    return sorted(f"libc6 (>= {glibc[0]}.{glibc[1]})" if name == "libc6" else name for name in needed)


def needed_libraries(content: bytes) -> Iterator[str]:
    """Yield the names of the libraries that a compiled library needs.

    Its table of strings may have other names: tools that bundle libraries rename them, and leave the old names.

    Args:
        content: the bytes of a file in ELF, for a processor with 64 bits and little-endian integers.

    Raises:
        PackageError: it is another kind of file.
    """
    if content[:6] != b"\x7fELF\x02\x01":
        raise PackageError("a library is not for a processor with 64 bits and little-endian integers")
    (headers,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    segments = [struct.unpack_from("<IIQQQQ", content, headers + size * number) for number in range(count)]
    load, dynamic, needed, strings = 1, 2, 1, 5
    entries = [
        struct.unpack_from("<qQ", content, place)
        for kind, _, offset, _, _, length in segments
        if kind == dynamic
        for place in range(offset, offset + length, 16)
    ]
    for address in (value for tag, value in entries if tag == strings):
        for kind, _, offset, start, _, length in segments:
            if kind == load and start <= address < start + length:
                table = offset + address - start
                for begin in (table + value for tag, value in entries if tag == needed):
                    yield content[begin : content.index(b"\0", begin)].decode()


def python_version(libraries: Path) -> str:
    """Return the version of the only Python that the libraries are for, such as 3.11.

    Raises:
        PackageError: there are none, or libraries for two Pythons.
    """
    found = [match for path in libraries.iterdir() if (match := re.fullmatch(r"cp(\d)(\d+)", path.name))]
    if len(found) != 1:
        raise PackageError(f"{libraries} has the libraries of {len(found)} versions of Python")
    return f"{found[0][1]}.{found[0][2]}"


def release_suffix(os_release: Path = Path("/etc/os-release")) -> str:
    """Return the end of a package's version that names the release of Debian, such as ~deb12."""
    text = os_release.read_text("utf-8")
    number = re.search(r'^VERSION_ID="?([\d.]+)"?$', text, re.MULTILINE)
    # A testing release has no number yet. Its packages are newer than those of each numbered release.
    return f"~deb{number[1]}" if number else "~sid"


def copyright_text(libraries: Path) -> str:
    """Return the text of the copyright file: the licence of pgkeymgr, and those of the bundled libraries."""
    lines = [
        "pgkeymgr is under the PostgreSQL License:",
        "",
        (TOP / "LICENSE").read_text("utf-8").strip(),
        "",
        "The package contains these libraries from PyPI, each with its licence in the named directory:",
        "",
    ]
    for metadata in sorted(libraries.glob("cp*/*.dist-info/METADATA")):
        fields = HeaderParser().parsestr(metadata.read_text("utf-8"))
        place = Path("/usr/lib/pgkeymgr") / metadata.parent.relative_to(libraries.parent)
        lines.append(f"{fields['Name']} {fields['Version']}: {_license(fields)}\n    {place}")
    lines += ["", "Debian has the text of the LGPL, version 3, in /usr/share/common-licenses/LGPL-3."]
    return "\n".join(lines) + "\n"


def _license(fields: Message) -> str:
    classified = [
        value.rpartition(" :: ")[2]
        for name, value in fields.items()
        if name == "Classifier" and value.startswith("License :: ")
    ]
    return fields["License-Expression"] or ", ".join(classified) or fields["License"] or "see there"


class Package:
    """A package that is being made in a directory of its own."""

    def __init__(self, name: str, directory: Path, epoch: int) -> None:
        """Start with an empty directory.

        Args:
            name: the package's.
            directory: where its files are put together.
            epoch: the time of all files, in seconds since 1970.
        """
        self.name = name
        self.root = directory / name
        self.epoch = epoch
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "DEBIAN").mkdir(parents=True)

    def take(self, source: Path, place: str) -> None:
        """Move a file or a directory into the package.

        Args:
            source: where it is.
            place: its path in the package, relative to the root directory.
        """
        target = self.root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)

    def write(self, place: str, text: str) -> None:
        """Write a text file, compressed if its name ends with .gz."""
        target = self.root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        data = text.encode()
        target.write_bytes(gzip.compress(data, 9, mtime=0) if place.endswith(".gz") else data)

    def script(self, name: str, text: str) -> None:
        """Write a script that dpkg runs, such as postinst."""
        (self.root / "DEBIAN" / name).write_text(text, "utf-8")

    def build(self, output: Path, fields: dict[str, str]) -> Path:
        """Write the package, and return its path.

        Args:
            output: the directory.
            fields: those of the file control, but for the size.
        """
        files = sorted(
            path for path in self.root.rglob("*") if path.is_file() and self.root / "DEBIAN" not in path.parents
        )
        sums = [
            f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(self.root)}"
            for path in files
        ]
        self.script("md5sums", "\n".join(sums) + "\n")
        size = sum(-(-path.stat().st_size // 1024) for path in files)
        control = {"Package": self.name, **fields, "Installed-Size": str(size)}
        description = control.pop("Description")
        lines = [f"{name}: {value}" for name, value in control.items() if value]
        (self.root / "DEBIAN/control").write_text(
            "\n".join([*lines, f"Description: {description}"]) + "\n", "utf-8"
        )
        self._normalize([self.root, *self.root.rglob("*")])
        path = output / f"{self.name}_{fields['Version']}_{fields['Architecture']}.deb"
        subprocess.run(
            # The bytes depend on whether there are threads.
            ["dpkg-deb", "--root-owner-group", "-Zxz", "-z3", "--threads-max=1", "--build", self.root, path],
            env={**os.environ, "SOURCE_DATE_EPOCH": str(self.epoch)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return path

    def _normalize(self, paths: Iterable[Path]) -> None:
        """Give all files modes and times that do not depend on this build."""
        scripts = {self.root / "DEBIAN" / name for name in ("preinst", "postinst", "prerm", "postrm")}
        for path in paths:
            if path.is_symlink():
                continue
            is_program = path in scripts or path.parent == self.root / "usr/bin"
            path.chmod(0o755 if path.is_dir() or is_program else 0o644)
            os.utime(path, (self.epoch, self.epoch))


def make_packages(stage: Path, version: str, postgresql: str, epoch: int, output: Path) -> list[Path]:
    """Make the packages, and return their paths. The stage is empty afterwards.

    Args:
        stage: an installation with the prefix /usr.
        version: the extension's.
        postgresql: the major version of PostgreSQL.
        epoch: the time of all files, in seconds since 1970.
        output: the directory of the packages.

    Raises:
        PackageError: the stage is not what a package can be made of.
    """
    output.mkdir(parents=True, exist_ok=True)
    libraries = stage / "usr/lib/pgkeymgr" / version
    python = python_version(libraries)
    debian_version = f"{version}-{REVISION}{release_suffix()}"
    done = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True)
    architecture = done.stdout.strip()
    common = {"Version": debian_version, "Section": "database", "Priority": "optional", "Maintainer": MAINTAINER}
    change = (
        f"pgkeymgr ({debian_version}) unstable; urgency=medium\n\n"
        f"  * Version {version}. CHANGELOG.md has the changes.\n\n"
        f" -- {MAINTAINER}  {formatdate(epoch)}\n"
    )
    license_text = copyright_text(libraries)

    tools = Package("pgkeymgr", stage.parent, epoch)
    dependencies = [f"python{python}", *library_dependencies(libraries)]
    tools.take(
        stage / "usr/share/pgkeymgr/pgkeymgr-agent.service", "usr/lib/systemd/system/pgkeymgr-agent.service"
    )
    for place in ("usr/bin/pgkeymgr", "usr/lib/pgkeymgr", "usr/share/pgkeymgr", "usr/share/doc/pgkeymgr"):
        tools.take(stage / place, place)
    for place, debian_place in {
        "usr/share/man": "usr/share/man",
        "usr/share/bash-completion": "usr/share/bash-completion",
        # Debian's zsh looks for what packages install in a directory of its own.
        "usr/share/zsh/site-functions": "usr/share/zsh/vendor-completions",
        "usr/share/fish": "usr/share/fish",
    }.items():
        tools.take(stage / place, debian_place)
    for page in (tools.root / "usr/share/man").rglob("*.[1-8]"):
        tools.write(f"{page.relative_to(tools.root)}.gz", page.read_text("utf-8"))
        page.unlink()
    (tools.root / "usr/share/doc/pgkeymgr/LICENSE").unlink()
    scripts = TOP / "packaging/deb"
    tools.write("usr/lib/sysusers.d/pgkeymgr.conf", (scripts / "pgkeymgr.sysusers").read_text("utf-8"))
    tools.write("usr/share/lintian/overrides/pgkeymgr", (scripts / "pgkeymgr.overrides").read_text("utf-8"))
    for name in ("prerm", "postinst", "postrm"):
        tools.script(name, (scripts / f"pgkeymgr.{name}").read_text("utf-8"))

    extension = Package(f"postgresql-{postgresql}-pgkeymgr", stage.parent, epoch)
    place = f"usr/share/postgresql/{postgresql}/extension"
    extension.take(stage / place, place)
    overrides = (scripts / "postgresql-pgkeymgr.overrides").read_text("utf-8")
    extension.write(
        f"usr/share/lintian/overrides/{extension.name}", overrides.replace("@package@", extension.name)
    )

    for package in (tools, extension):
        package.write(f"usr/share/doc/{package.name}/copyright", license_text)
        package.write(f"usr/share/doc/{package.name}/changelog.Debian.gz", change)
    left = [path for path in stage.rglob("*") if not path.is_dir()]
    if left:
        raise PackageError(f"no package has {left[0]}")
    return [
        tools.build(
            output,
            {
                "Source": "pgkeymgr",
                "Architecture": architecture,
                **common,
                "Depends": ", ".join(dependencies),
                "Suggests": "age, gnupg",
                "Description": f"{SUMMARY} - command and libraries\n{DESCRIPTION}\n"
                " .\n This package has the command pgkeymgr, the agent, and the Python\n"
                " libraries that the extension imports.",
            },
        ),
        extension.build(
            output,
            {
                "Source": "pgkeymgr",
                "Architecture": "all",
                **common,
                "Depends": f"postgresql-{postgresql}, postgresql-plpython3-{postgresql}, "
                f"pgkeymgr (= {debian_version})",
                "Description": f"{SUMMARY}\n{DESCRIPTION}\n .\n"
                f" This package has the extension for PostgreSQL {postgresql}.",
            },
        ),
    ]


def main() -> int:
    """Make the packages that the arguments describe, print their paths, and return the exit status."""
    parser = argparse.ArgumentParser(description="Make Debian packages of an installation in a directory.")
    parser.add_argument("--stage", required=True, type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--postgresql", required=True)
    parser.add_argument("--epoch", required=True, type=int)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    try:
        packages = make_packages(
            arguments.stage.resolve(),
            arguments.version,
            arguments.postgresql,
            arguments.epoch,
            arguments.output.resolve(),
        )
    except PackageError as error:
        print(f"make deb: {error}", file=sys.stderr)
        return 1
    for package in packages:
        print(os.path.relpath(package))
    return 0


if __name__ == "__main__":
    sys.exit(main())
