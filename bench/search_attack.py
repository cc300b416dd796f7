"""Attack search terms as a thief of the disk would, with public data, and print the share of recovered rows.

    python bench/search_attack.py

The thief has the terms of each row, no key, and public data about the values of such a column. The values are
those of ISO 3166-2, the subdivisions of countries (Debian's package iso-codes): the type of each subdivision and
its country for equality, its name for texts, and the number of its country for ranges. A row is recovered if the
thief's guess is its value. The random numbers have a fixed seed, so that each run prints the same figures.

docs/search-leakage.md explains the attacks and has the figures.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pgkeymgr.column import blinding, range_terms, text_terms
from pgkeymgr.column.range_terms import RangeOptions
from pgkeymgr.column.text_terms import TextOptions

ISO_CODES = Path("/usr/share/iso-codes/json")
NAMES = 1000
"""How many names the column of texts has."""

_SECRET = bytes(range(32))
_OF_THIEF = bytes(32)
_ROUNDS = 8
Stored = TypeVar("Stored")
Known = TypeVar("Known")
Matrix = np.ndarray[Any, np.dtype[np.float32]]


class Subdivision(NamedTuple):
    """A subdivision of a country."""

    kind: str
    country: str
    number: str
    name: str


class Outcome(NamedTuple):
    """The share of rows that an attack recovers, and the share by guessing the most frequent value."""

    attacked: str
    knowledge: str
    recovered: float
    blind_guess: float


def subdivisions() -> list[Subdivision]:
    """Return all subdivisions of ISO 3166-2.

    Raises:
        FileNotFoundError: iso-codes is not installed.
    """
    countries = json.loads((ISO_CODES / "iso_3166-1.json").read_text())["3166-1"]
    numbers = {country["alpha_2"]: country["numeric"] for country in countries}
    return [
        Subdivision(each["type"], each["code"][:2], str(int(numbers[each["code"][:2]])), each["name"])
        for each in json.loads((ISO_CODES / "iso_3166-2.json").read_text())["3166-2"]
    ]


HALF, COUNTS = "another half of the rows", "how often each value occurs"


def divided(values: Sequence[str], knowledge: str) -> tuple[list[str], list[str]]:
    """Return the values that are stored, and those that the thief knows."""
    shuffled = Random(1).sample(values, len(values))  # noqa: S311
    half = len(values) // 2
    return (shuffled[:half], shuffled[half:]) if knowledge == HALF else (shuffled, shuffled)


def share(guesses: Iterable[str | None], values: Sequence[str]) -> float:
    """Return the share of guesses that are right."""
    return sum(guess == value for guess, value in zip(guesses, values, strict=True)) / len(values)


def most_frequent(values: Sequence[str]) -> float:
    """Return the share of rows that have the most frequent value."""
    return Counter(values).most_common(1)[0][1] / len(values)


def by_rank(stored: Mapping[Stored, int], known: Mapping[Known, int]) -> dict[Stored, Known]:
    """Pair what is stored with known values: the most frequent with the most frequent, and so on."""

    def ranked(counts: Mapping[Any, int]) -> list[Any]:
        return sorted(counts, key=lambda each: (-counts[each], each))

    return dict(zip(ranked(stored), ranked(known), strict=False))


def attack_equality(values: list[str], bits: int, name: str, knowledge: str) -> Outcome:
    """Pair the digests of a blind index with values, by frequency."""
    stored, known = divided(values, knowledge)
    key = blinding.subkey(_SECRET)
    digests = [blinding.truncated(blinding.digest(key, value), bits) for value in stored]
    pairs = by_rank(Counter(digests), Counter(known))
    guesses = [pairs.get(digest) for digest in digests]
    return Outcome(name, knowledge, share(guesses, stored), most_frequent(stored))


def attack_ranges(values: list[str], options: RangeOptions, name: str, knowledge: str) -> Outcome:
    """Rebuild the tree of intervals, and pair its nodes by frequency, from the top.

    A term of a larger interval occurs in all rows that have the term of a smaller one within it.
    """
    stored, known = divided(values, knowledge)
    rows = [range_terms.value_terms(range_terms.subkey(_SECRET), value, options) for value in stored]
    aux = [range_terms.value_terms(_OF_THIEF * 2, value, options) for value in known]
    paths, known_paths = _paths(rows), _paths(aux)
    guess_of: dict[tuple[int, ...], tuple[int, ...]] = {(): ()}
    below, known_below = _children(paths), _children(known_paths)
    for level in range(max(map(len, paths))):
        for node in [each for each in guess_of if len(each) == level]:
            guess_of |= by_rank(below.get(node, {}), known_below.get(guess_of[node], {}))
    at: dict[tuple[int, ...], Counter[str]] = defaultdict(Counter)
    for path, value in zip(known_paths, known, strict=True):
        for length in range(len(path) + 1):
            at[path[:length]][value] += 1
    guesses = []
    for path in paths:
        # The longest part of the path that has a guess.
        length = max(length for length in range(len(path) + 1) if path[:length] in guess_of)
        guesses.append(at[guess_of[path[:length]]].most_common(1)[0][0])
    return Outcome(name, knowledge, share(guesses, stored), most_frequent(stored))


def _paths(rows: list[list[int]]) -> list[tuple[int, ...]]:
    """Return the terms of each row from the largest interval to the smallest, as their frequencies show it."""
    counts = Counter(term for row in rows for term in row)
    return [tuple(sorted(row, key=lambda term: (-counts[term], term))) for row in rows]


def _children(paths: list[tuple[int, ...]]) -> dict[tuple[int, ...], Counter[tuple[int, ...]]]:
    below: dict[tuple[int, ...], Counter[tuple[int, ...]]] = defaultdict(Counter)
    for path in paths:
        for length in range(len(path)):
            below[path[:length]][path[: length + 1]] += 1
    return below


def attack_texts(names: list[str], options: TextOptions, name: str, stored_share: float = 1) -> Outcome:
    """Pair rows with the names of a list, by the frequencies of their terms, and improve the pairs in rounds.

    The first pairs have parts of similar frequencies. Each round takes a term for the part with which it occurs
    most in the pairs, and then pairs each row with the name that has most of the parts.
    """
    chance = Random(2)  # noqa: S311
    stored = chance.sample(names, round(len(names) * stored_share))
    rows = _incidence([text_terms.value_terms(text_terms.subkey(_SECRET), each, options) for each in stored])
    parts = TextOptions(options.normalization, sizes=options.sizes, bits=32)
    known = _incidence([text_terms.value_terms(_OF_THIEF * 2, each, parts) for each in names])
    pairs = _similar_frequencies(rows, known, stored_share)
    for _ in range(_ROUNDS):
        pairs = _improved(rows, known, pairs)
    guesses = [names[pair] for pair in pairs]
    knowledge = "all values, once each" if stored_share == 1 else f"a list, {stored_share:.0%} of which is stored"
    return Outcome(name, knowledge, share(guesses, stored), most_frequent(stored))


def _incidence(rows: list[list[int]]) -> Matrix:
    """Return a matrix with a row for each value and a column for each term, 1 where the value has the term."""
    columns = {term: at for at, term in enumerate(sorted({term for row in rows for term in row}))}
    matrix: Matrix = np.zeros((len(rows), len(columns)), dtype=np.float32)
    for at, row in enumerate(rows):
        matrix[at, [columns[term] for term in row]] = 1
    return matrix


def _similar_frequencies(rows: Matrix, known: Matrix, stored_share: float) -> list[int]:
    """Pair each row with the value whose parts have the most similar frequencies."""
    width = max(int(np.max(matrix.sum(1))) for matrix in (rows, known))

    def signature(matrix: Matrix, scale: float) -> Matrix:
        frequencies = np.log1p(matrix * matrix.sum(0) * scale)
        return -np.sort(-frequencies, axis=1)[:, :width]

    of_rows, of_known = signature(rows, 1 / stored_share), signature(known, 1)
    return [int(np.abs(of_known - each).sum(1).argmin()) for each in of_rows]


def _improved(rows: Matrix, known: Matrix, pairs: list[int]) -> list[int]:
    """Return the pairs of the next round."""
    paired = known[pairs]
    together = rows.T @ paired
    likeness = together / (rows.sum(0)[:, None] + paired.sum(0)[None, :] - together)
    best = likeness.argmax(1)
    weights = likeness[np.arange(len(best)), best]
    # A term that occurs once says nothing about the part that it stands for.
    weights = weights * np.log1p(rows.sum(0))
    scores = (rows * weights) @ known[:, best].T
    lengths = np.abs(rows.sum(1)[:, None] - known.sum(1)[None, :])
    return [int(pair) for pair in (scores - 0.3 * lengths).argmax(1)]


def outcomes(names: int = NAMES) -> list[Outcome]:
    """Run all attacks.

    Args:
        names: the number of names that the column of texts has.
    """
    everything = subdivisions()
    of_countries = [each.number for each in everything]
    some = sorted({each.name for each in everything})
    some = Random(3).sample(some, min(names, len(some)))  # noqa: S311
    kinds, countries = [each.kind for each in everything], [each.country for each in everything]
    pairs = [f"{each.country} {each.kind}" for each in everything]
    found = []
    for knowledge in (HALF, COUNTS):
        for bits in (128, 8, 4):
            found.append(attack_equality(kinds, bits, f"equality: type, {bits} bits", knowledge))
            found.append(attack_equality(countries, bits, f"equality: country, {bits} bits", knowledge))
        found.append(attack_equality(pairs, 128, "compound: country and type, 128 bits", knowledge))
    for bits in (32, 16, 12, 10, 8):
        found.append(attack_texts(some, TextOptions(bits=bits), f"text: name, {bits} bits"))
    for bits in (32, 16, 12, 8):
        found.append(attack_texts(some, TextOptions(bits=bits), f"text: name, {bits} bits", 0.5))
    for knowledge in (HALF, COUNTS):
        for precision, bits in ((1, 32), (1, 8), (16, 32), (64, 32)):
            options = RangeOptions("int2", low="0", high="1023", precision=precision, bits=bits)
            name = f"range: number, precision {precision}, {bits} bits"
            found.append(attack_ranges(of_countries, options, name, knowledge))
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=NAMES, help=f"names in the column of texts; default: {NAMES}")
    options = parser.parse_args()
    print("| index | the thief knows | recovered | by guessing |\n|---|---|---|---|")
    for attacked, knowledge, recovered, guess in outcomes(options.names):
        print(f"| {attacked} | {knowledge} | {recovered:.0%} | {guess:.1%} |", flush=True)


if __name__ == "__main__":
    main()
