"""Trim Wycheproof's test vectors to those of the primitives that pgkeymgr uses.

    python scripts/wycheproof.py CLONE

CLONE is a git repository of https://github.com/C2SP/wycheproof. Each file of test/data/wycheproof gets the
algorithm's name, the notes to its flags, and a line for each test: the fields of the test and of its group that
tests use, in hexadecimal as they are there. Schemas, sources, references and other forms of the keys are left out.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[1] / "test" / "data" / "wycheproof"

AEAD = ("key", "iv", "aad", "msg", "ct", "tag")
MAC = ("key", "msg", "tag")
FILES = {
    "aead_aes_siv_cmac": AEAD,
    "aes_cbc_pkcs5": ("key", "iv", "msg", "ct"),
    "aes_gcm_siv": AEAD,
    "aes_siv_cmac": ("key", "aad", "msg", "ct"),
    "chacha20_poly1305": AEAD,
    "ed25519": ("pk", "msg", "sig"),
    "hmac_sha256": MAC,
    "hmac_sha512": MAC,
    "siphash_2_4": MAC,
    "x25519": ("public", "private", "shared"),
    "xchacha20_poly1305": AEAD,
}
"""The files of testvectors_v1, and the fields of their tests."""


def trim(original: dict[str, Any], fields: tuple[str, ...]) -> str:
    """Return what is kept of a file, as JSON with a line for each test.

    Args:
        original: the file's contents.
        fields: of its tests.
    """
    head = {
        "algorithm": original["algorithm"],
        "fields": ["id", "result", "flags", "comment", *fields],
        "notes": {flag: note.get("description", note["bugType"]) for flag, note in original["notes"].items()},
    }
    tests = []
    for group in original["testGroups"]:
        shared = {"pk": group.get("publicKey", {}).get("pk")}
        for test in group["tests"]:
            every = {**shared, **test}
            fixed = [test["tcId"], test["result"], test.get("flags", []), test["comment"]]
            tests.append(json.dumps([*fixed, *(every[field] for field in fields)]))
    if len(tests) != original["numberOfTests"]:
        raise ValueError(f"{len(tests)} tests instead of {original['numberOfTests']}")
    return json.dumps(head, indent=1)[:-2] + ',\n "tests": [\n' + ",\n".join(tests) + "\n ]\n}\n"


def main() -> None:
    """Write the files of test/data/wycheproof."""
    clone = sys.argv[1]

    def show(path: str) -> str:
        command = ["git", "-C", clone, "show", f"HEAD:{path}"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    DATA.mkdir(exist_ok=True)
    (DATA / "LICENSE").write_text(show("LICENSE"))
    for name, fields in FILES.items():
        original = json.loads(show(f"testvectors_v1/{name}_test.json"))
        (DATA / f"{name}.json").write_text(trim(original, fields))


if __name__ == "__main__":
    main()
