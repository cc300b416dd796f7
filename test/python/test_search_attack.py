"""The attack on search terms of bench/search_attack.py recovers what docs/search-leakage.md says, in less data."""

import pytest
import search_attack
from pgkeymgr.column.range_terms import RangeOptions
from pgkeymgr.column.text_terms import TextOptions
from search_attack import COUNTS, HALF, attack_equality, attack_ranges, attack_texts, subdivisions


@pytest.fixture(scope="module")
def everything() -> list[search_attack.Subdivision]:
    try:
        return subdivisions()
    except FileNotFoundError:
        pytest.skip("iso-codes is not installed: apt-get install iso-codes")


def test_equality(everything: list[search_attack.Subdivision]) -> None:
    kinds = [each.kind for each in everything]
    full, cut = (attack_equality(kinds, bits, "", HALF) for bits in (128, 4))
    assert full.recovered > 0.6
    assert cut.recovered < full.recovered
    assert 0.2 < full.blind_guess < 0.3


def test_texts(everything: list[search_attack.Subdivision]) -> None:
    names = sorted({each.name for each in everything})[:200]
    full, cut = (attack_texts(names, TextOptions(bits=bits), "") for bits in (32, 8))
    assert full.recovered > 0.9
    assert cut.recovered < 0.3


def test_ranges(everything: list[search_attack.Subdivision]) -> None:
    numbers = [each.number for each in everything[::2]]
    shares = [
        attack_ranges(
            numbers, RangeOptions("int2", low="0", high="1023", precision=precision), "", COUNTS
        ).recovered
        for precision in (1, 64)
    ]
    assert shares[0] > 0.6
    assert shares[1] < shares[0] / 2
