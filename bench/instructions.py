"""The number of instructions that the hot calls take, counted in a real backend under valgrind's callgrind.

A count does not depend on how busy or how fast the machine is, so one that grows is a regression. The backend is a
stand-alone one (``postgres --single``), with the installed extension; each call is counted in a statement with
CALLS of them and in one with twice as many, and the difference is taken, which leaves out the statement itself.

As a script, it writes the counts of this combination of Python and PostgreSQL into instructions.json, where
test_instructions.py finds them:

    make instructions
"""

import json
import platform
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

from cluster import Cluster

COUNTS_FILE = Path(__file__).with_name("instructions.json")

TOLERANCE = 0.02
"""The tolerance of a count. Two runs differ by less than a tenth of it."""

CALLS = 256
"""A multiple of how many nonces a session draws at once, so that each statement draws its share."""

_SAMPLE = f"""
SET search_path = pgkeymgr, public;
CREATE FUNCTION public.noop(message text) RETURNS text LANGUAGE plpython3u AS 'return message';
SELECT create_data_key('bench');
CREATE TABLE public.sample (id integer PRIMARY KEY, ssn text);
CREATE TABLE public.written (id integer PRIMARY KEY, ssn text);
SELECT encrypt_column('public.sample', 'ssn');
SELECT encrypt_column('public.written', 'ssn');
SELECT add_blind_index('public.sample', 'ssn');
INSERT INTO public.sample SELECT i, substr(md5(i::text), 1, 27) FROM generate_series(1, {2 * CALLS}) AS i;
CREATE TABLE public.source AS
    SELECT i AS id, substr(md5(i::text), 1, 27) AS plaintext,
           token_encrypt_text('bench', substr(md5(i::text), 1, 27)) AS token,
           substr(sha512(i::text::bytea), 1, 24) AS nonce
    FROM generate_series(1, {2 * CALLS}) AS i;
SELECT create_data_key('key ' || i) FROM generate_series(1, {2 * CALLS}) AS i;
CREATE TABLE public.of_many AS
    SELECT token_encrypt_text('key ' || i, 'x') AS token FROM generate_series(1, {2 * CALLS}) AS i;
VACUUM (FREEZE, ANALYZE)
"""

_SOURCE = "(SELECT * FROM source LIMIT {calls}) AS rows"
NOOP = "plpython3u no-op"
SCAN = "SELECT through the view"
STATEMENTS = {
    NOOP: f"SELECT count(noop(plaintext)) FROM {_SOURCE}",
    SCAN: "SELECT count(ssn) FROM (SELECT ssn FROM sample LIMIT {calls}) AS rows",
    "INSERT through the view": f"INSERT INTO written SELECT id + {{calls}}, plaintext FROM {_SOURCE}",
    "token_encrypt_text": f"SELECT count(pgkeymgr.token_encrypt_text('bench', plaintext)) FROM {_SOURCE}",
    "token_decrypt_text": f"SELECT count(pgkeymgr.token_decrypt_text(token)) FROM {_SOURCE}",
    "token_decrypt_text, another key in each row": (
        "SELECT count(pgkeymgr.token_decrypt_text(token)) FROM (SELECT * FROM of_many LIMIT {calls}) AS rows"
    ),
    "crypto_secretbox, by number": (
        f"SELECT count(pgkeymgr.crypto_secretbox(plaintext::bytea, nonce, id)) FROM {_SOURCE}"
    ),
    "blind_index": f"SELECT count(pgkeymgr.blind_index('sample', 'ssn', plaintext)) FROM {_SOURCE}",
}
"""The queries whose instructions are counted, by name; each makes one call for each row."""

ALL = "all"
OTHER = "other"
PARTS = {
    "postgres": "PostgreSQL",
    "plpython": "PL/Python",
    "libpython": "Python",
    "_ctypes": "ctypes",
    "libffi": "ctypes",
    "_rust": "cryptography",
    "_sodium": "libsodium",
    "libsodium": "libsodium",
    "plpgsql": "PL/pgSQL",
    "libc.so": "C library",
}
"""The beginning of the name of an object file, and its label."""

Counts = dict[str, dict[str, int]]

# Called once for each statement that the client sends, and not for those that functions run.
_STATEMENT = "PortalRun"


def is_possible() -> bool:
    """Return whether there is a valgrind to count with."""
    return shutil.which("valgrind") is not None


def combination(cluster: Cluster) -> str:
    """Return what the counts belong to: the machine's kind, PL/Python's Python, and PostgreSQL."""
    version = cluster.run_as_server([cluster.bin / "postgres", "--version"]).stdout
    found = re.search(r"\d+", version)
    assert found is not None
    # The tests and the benchmark run with the interpreter that PL/Python embeds; see the Makefile.
    return f"{platform.machine()}-cp{sys.version_info[0]}{sys.version_info[1]}-pg{found[0]}"


def kept_counts() -> dict[str, Counts]:
    """Return the counts that the repository keeps, for each combination."""
    kept: dict[str, Counts] = json.loads(COUNTS_FILE.read_text()) if COUNTS_FILE.exists() else {}
    return kept


def count(cluster: Cluster) -> Counts:
    """Count the instructions of each call.

    Args:
        cluster: running, and its own alone; it is stopped afterwards.

    Returns:
        The instructions a call, by the names of STATEMENTS, then by where they are: ALL, and the names of PARTS.
    """
    cluster.create_database("instructions")
    with cluster.connect("instructions") as connection:
        for statement in _SAMPLE.split(";"):
            connection.execute(statement.encode())
    cluster.stop()
    sent = []
    for statement in STATEMENTS.values():
        # The first of the three brings the session to where it stays.
        sent += [statement.format(calls=calls) for calls in (CALLS // 2, CALLS, 2 * CALLS)]
    totals = _run_under_callgrind(cluster, sent)
    counts = {}
    for number, name in enumerate(STATEMENTS):
        _, once, twice = totals[3 * number : 3 * number + 3]
        counts[name] = {part: round((twice[part] - once[part]) / CALLS) for part in (ALL, *PARTS.values(), OTHER)}
    return counts


def _run_under_callgrind(cluster: Cluster, statements: list[str]) -> list[Counter[str]]:
    """Return the instructions that each statement took, by where they are."""
    folder = cluster.directory / "callgrind"
    folder.mkdir()
    cluster.give_to_server(folder)
    # Python's hashes, and with them its dictionaries, are to be the same in every run.
    cluster.environment["PYTHONHASHSEED"] = "0"
    # The server's user may be unable to write to /tmp, where valgrind keeps files of its own.
    cluster.environment["TMPDIR"] = str(folder)
    output = folder / "out"
    cluster.run_as_server(
        [
            *("valgrind", "--tool=callgrind", f"--toggle-collect={_STATEMENT}", f"--dump-after={_STATEMENT}"),
            *(f"--callgrind-out-file={output}", cluster.bin / "postgres", "--single", "-D", cluster.data),
            *("-c", "log_checkpoints=off", "-c", "jit=off", "instructions"),
        ],
        input="\n".join(statements) + "\n",
    )
    return [_by_part((folder / f"out.{number}").read_text()) for number in range(1, len(statements) + 1)]


def _by_part(profile: str) -> Counter[str]:
    """Add up a profile of callgrind's; see its manual, Callgrind Format Specification."""
    counts: Counter[str] = Counter()
    objects: dict[str, str] = {}
    part, is_call = OTHER, False
    for line in profile.splitlines():
        if match := re.fullmatch(r"ob=(\(\d+\))(?: (.*))?", line):
            if match[2] is not None:
                objects[match[1]] = match[2]
            path = objects[match[1]]
            part = next((name for start, name in PARTS.items() if Path(path).name.startswith(start)), OTHER)
        elif match := re.fullmatch(r"cob=(\(\d+\)) (.*)", line):
            objects[match[1]] = match[2]
        elif line.startswith("calls="):
            is_call = True  # the next line is what the callee took
        elif match := re.fullmatch(r"(?:0x[0-9a-f]+|[+-]?\d+|\*) (\d+)", line):
            if not is_call:
                counts[part] += int(match[1])
            is_call = False
    found = re.search(r"^(?:totals|summary): (\d+)", profile, re.MULTILINE)
    assert found is not None
    counts[ALL] = int(found[1])
    assert sum(counts.values()) == 2 * counts[ALL], "the profile was not understood"
    return counts


def main() -> int:
    """Count, print, and write the counts of this machine's combination into the file."""
    if not is_possible():
        print("There is no valgrind: run 'make test-deps'", file=sys.stderr)
        return 1
    with Cluster() as cluster:
        kept = kept_counts()
        key = combination(cluster)
        counts = count(cluster)
    before = kept.get(key, {})
    for name, parts in counts.items():
        change = f" ({parts[ALL] / before[name][ALL] - 1:+.1%})" if name in before else ""
        print(f"{name}: {parts[ALL]}{change}")
    kept[key] = counts
    COUNTS_FILE.write_text(json.dumps(dict(sorted(kept.items())), indent=4) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
