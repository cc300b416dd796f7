"""Tests that each option that takes a file names the file in its errors, without a server and without a traceback.

test_command_faults.py has the files that ``report`` and ``metrics`` write, and test_seal.py those of ``seal``.
"""

import base64
import json
import re
from pathlib import Path

import pytest
from cluster import ROOT_KEY
from in_process import invoke
from pgkeymgr.command import audit_checkpoint
from pgkeymgr.command.getkey_script import script_for_file
from pgkeymgr.root_key import LocalRootKey, signing

MISSING = ("missing", "directory", "loop", "below a file")
"""The kinds of paths at which there is no file."""
EVERY = (*MISSING, "empty", "binary", "text")
CONTENTS = {"empty": b"", "binary": b"\xff\xfe\0\x01\n", "text": b"some text\n"}
NO_FILE = "No such file|does not exist|Is a directory|Not a directory|is not a regular file|Too many levels"

VERIFY = "audit verify --checkpoints {checkpoints} --keys {keys} --export {export}"
SPLIT = "escrow split --threshold 2 --shares 3 --output-directory {new}"
OPTIONS = {
    # The option, a call in which {file} is the file, the kinds that it refuses, and the fault of each content.
    "audit verify --keys": (
        VERIFY.replace("{keys}", "{file}"),
        EVERY,
        {"empty": "there is no public key", "binary": "not UTF-8 text", "text": "line 1 is not a public key"},
    ),
    "audit verify --checkpoints": (
        VERIFY.replace("{checkpoints}", "{file}"),
        EVERY,
        {"empty": "has no checkpoint", "*": "line 1 is not a checkpoint"},
    ),
    "audit verify --export": (
        VERIFY.replace("{export}", "{file}"),
        EVERY,
        {"empty": "has no event", "*": "line 1 of the export is not an event of audit export --format jsonl"},
    ),
    "escrow combine": (
        "escrow combine {file} --output {new}",
        EVERY,
        {"empty": "has 0 words", "binary": "is not UTF-8 text\nName a file with", "text": "words that are not in"},
    ),
    "escrow split --getkey": (f"{SPLIT} --getkey {{file}}", EVERY, {"*": "is not executable"}),
    "escrow split --set": (
        f"{SPLIT} --provider file --set file={{file}}",
        EVERY,
        {"empty": "holds nothing", "*": "characters on line 1"},
    ),
    "init --pgdata": ("init --pgdata {file}", EVERY, {"*": "does not exist"}),
    "init --config-file": ("init --config-file {file}", MISSING, {}),
    "init --key-file": (
        "init --pgdata {cluster} --share-directory {cluster} --path {new} --use-existing-key --key-file {file}",
        EVERY,
        {"empty": "holds nothing", "*": "holds [49] characters on line 1"},
    ),
    "root new --pgdata": ("root new --yes --pgdata {file}", EVERY, {"*": "does not exist"}),
    "root new --config-file": ("root new --yes --config-file {file}", MISSING, {}),
    "root new --getkey": ("root new --yes --getkey {file}", EVERY, {"*": "does not print a file"}),
    "root new, the key file": (
        "root new --yes --getkey {script}",
        EVERY,
        {"empty": "holds nothing", "*": "holds [49] characters on line 1"},
    ),
    "agent status --config": ("agent status --config {file}", (*MISSING, "binary", "text"), {"*": "is not TOML"}),
}


def prepared(directory: Path, kind: str) -> Path:
    """Return a path of a kind."""
    file = directory / "the_file"
    if kind == "directory":
        file.mkdir()
    elif kind == "loop":
        file.symlink_to(file)
    elif kind == "below a file":
        file.write_text("")
        return file / "the_file"
    elif kind != "missing":
        file.write_bytes(CONTENTS[kind])
        file.chmod(0o600)
    return file


def files(directory: Path, file: Path) -> dict[str, Path]:
    """Make the other files of the calls, which have no fault."""
    paths = {name: directory / name for name in ("checkpoints", "keys", "export", "cluster", "script", "new")}
    (by_name,) = signing.public_keys(LocalRootKey([bytes.fromhex(ROOT_KEY)], "a test")).values()
    paths["keys"].write_text(f"{'0' * 32} ed25519 {base64.b64encode(by_name['ed25519']).decode()}\n")
    # Lines of the right form, without a valid signature and a valid hash.
    fields = '"counter":1,"database":"a","hash":"","link":0,"previous":"","system":"","time":""'
    paths["checkpoints"].write_text(f'{{"checkpoint":{{{fields}}},"root_key":"","signatures":{{}}}}\n')
    event = {**dict.fromkeys(audit_checkpoint._EXPORTED, ""), "link": 1, "key_id": None}
    paths["export"].write_text(json.dumps(event) + "\n")
    paths["cluster"].mkdir()
    for name in ("postgresql.conf", "PG_VERSION"):
        (paths["cluster"] / name).write_text("")
    paths["script"].write_text(script_for_file(file))
    paths["script"].chmod(0o700)
    return {**paths, "file": file}


@pytest.mark.parametrize(
    ("option", "kind"), [(each, kind) for each, (_, kinds, _) in OPTIONS.items() for kind in kinds]
)
def test_a_faulty_file_is_named(tmp_path: Path, option: str, kind: str) -> None:
    call, _, faults = OPTIONS[option]
    file = prepared(tmp_path, kind)
    paths = files(tmp_path, file)
    done = invoke(*(word.format(**paths) for word in call.split()), environment={"PGHOST": "/nowhere"})
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("pgkeymgr: ")
    assert str(tmp_path / "the_file") in done.stderr
    fault = (faults.get(kind) or faults["*"]) if kind in CONTENTS else NO_FILE
    assert re.search(fault, done.stderr), done.stderr
    assert not paths["new"].exists()


@pytest.mark.parametrize(
    "line",
    [f"{'0' * 32} ed25519 AAAA", f"{'0' * 32} rot13 {'A' * 43}=", f"{'0' * 32} ed25519 -", "a\u2028b"],
)
def test_a_malformed_public_key_is_named(tmp_path: Path, line: str) -> None:
    """A key of a wrong length or of an unknown algorithm was a fault of each checkpoint, or of none."""
    file = prepared(tmp_path, "empty")
    paths = files(tmp_path, file)
    file.write_text(f"# A comment\n\n{paths['keys'].read_text()}{line}\n", encoding="utf-8")
    words = VERIFY.replace("{keys}", "{file}").split()
    done = invoke(*(word.format(**paths) for word in words))
    assert done.returncode == 1
    assert done.stderr == (
        f"pgkeymgr: {file}: line 4 is not a public key\n"
        "Name a file with the output of pgkeymgr agent audit-keys.\n"
    )


def test_a_file_of_public_keys_has_a_limit(tmp_path: Path) -> None:
    file = prepared(tmp_path, "missing")
    paths = files(tmp_path, file)
    file.write_text("\n" * (1 << 20) + paths["keys"].read_text())
    done = invoke(*(word.format(**paths) for word in VERIFY.replace("{keys}", "{file}").split()))
    assert done.returncode == 1
    assert f"{file}: the file has more than 1048576 bytes" in done.stderr
