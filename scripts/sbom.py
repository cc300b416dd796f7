"""Write a software bill of materials of the libraries that pgkeymgr installs, as CycloneDX JSON: ``make sbom``.

    python scripts/sbom.py --version VERSION --epoch SECONDS --output FILE TREE...

The trees are what ``make`` has fetched: each library in them has a directory NAME-VERSION.dist-info. Its hashes
are those of requirements/, one for each file of the release on PyPI that may be installed. pip has installed one
of them, for this machine's processor and Python. The same input gives the same bytes.

The format: https://cyclonedx.org/docs/1.6/json/
"""

import argparse
import datetime
import json
import re
import sys
import uuid
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
REQUIREMENTS = ("runtime.txt", "command.txt")
_REQUIREMENT = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^ ;\\]+)(?P<rest>(?:.*\\\n)*.*)$", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
"""The namespace of URLs, see RFC 9562."""


class MaterialError(Exception):
    """A library was not installed from the requirements."""


def normalize(name: str) -> str:
    """Return the name of a project as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_hashes(requirements: str) -> dict[tuple[str, str], list[str]]:
    """Return the hashes of a requirements file, by name and version."""
    return {
        (normalize(found["name"]), found["version"]): sorted(_HASH.findall(found["rest"]))
        for found in _REQUIREMENT.finditer(requirements)
    }


def libraries(trees: list[Path]) -> Iterator[Message]:
    """Yield the metadata of each library in the trees."""
    for tree in trees:
        for metadata in tree.glob("*.dist-info/METADATA"):
            yield HeaderParser().parsestr(metadata.read_text("utf-8"))


def component(metadata: Message, hashes: dict[tuple[str, str], list[str]]) -> dict[str, Any]:
    """Return the component of a library.

    Raises:
        MaterialError: the requirements do not have this version.
    """
    name, version = normalize(metadata["Name"]), metadata["Version"]
    if not hashes.get((name, version)):
        raise MaterialError(f"{name} {version} is not in requirements/: run make again")
    purl = f"pkg:pypi/{name}@{version}"
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "scope": "required",
        "hashes": [{"alg": "SHA-256", "content": content} for content in hashes[name, version]],
    }
    if expression := metadata["License-Expression"]:
        found["licenses"] = [{"expression": expression}]
    found["purl"] = purl
    found["externalReferences"] = [{"type": "distribution", "url": f"https://pypi.org/project/{name}/{version}/"}]
    return found


def document(version: str, epoch: int, trees: list[Path]) -> dict[str, Any]:
    """Return the bill of materials.

    Args:
        version: of pgkeymgr.
        epoch: the time of the document, in seconds since 1970.
        trees: the directories with the libraries.

    Raises:
        MaterialError: a tree has a library that is not in requirements/, or there are none.
    """
    hashes: dict[tuple[str, str], list[str]] = {}
    for name in REQUIREMENTS:
        hashes |= locked_hashes((TOP / "requirements" / name).read_text("utf-8"))
    components = sorted((component(each, hashes) for each in libraries(trees)), key=lambda each: str(each["purl"]))
    if not components:
        raise MaterialError("there are no libraries: run make first")
    own = f"pkg:pypi/pgkeymgr@{version}"
    serial = uuid.uuid5(_NAMESPACE, json.dumps([own, epoch, components]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "pgkeymgr",
                "version": version,
                "licenses": [{"license": {"id": "PostgreSQL"}}],
                "purl": own,
            },
        },
        "components": components,
        "dependencies": [
            {"ref": own, "dependsOn": [each["bom-ref"] for each in components]},
            *({"ref": each["bom-ref"]} for each in components),
        ],
    }


def main() -> int:
    """Write the file that the arguments name, print its path, and return the exit status."""
    parser = argparse.ArgumentParser(description="Write a CycloneDX bill of materials.")
    parser.add_argument("--version", required=True)
    parser.add_argument("--epoch", required=True, type=int)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("trees", nargs="+", type=Path)
    arguments = parser.parse_args()
    try:
        written = document(arguments.version, arguments.epoch, arguments.trees)
    except MaterialError as error:
        print(f"make sbom: {error}", file=sys.stderr)
        return 1
    arguments.output.write_text(json.dumps(written, indent=2) + "\n", "utf-8")
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
