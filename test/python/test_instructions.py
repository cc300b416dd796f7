"""The hot calls take as many instructions as the repository says: one that has grown is found here."""

from collections.abc import Iterator

import instructions
import pytest
from cluster import Cluster


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """A cluster of this module's own: its server is stopped, to count in a stand-alone backend."""
    with Cluster() as running:
        yield running


@pytest.fixture(scope="module")
def kept(own_cluster: Cluster) -> instructions.Counts:
    """The counts of this combination of Python and PostgreSQL."""
    if not instructions.is_possible():
        pytest.skip("there is no valgrind to count with: make test-deps installs it")
    combination = instructions.combination(own_cluster)
    counts = instructions.kept_counts().get(combination)
    if counts is None:
        pytest.skip(f"bench/instructions.json has no counts for {combination}: make instructions adds them")
    return counts


@pytest.fixture(scope="module")
def counted(own_cluster: Cluster, kept: instructions.Counts) -> instructions.Counts:  # skips before counting
    """The counts of the installed extension."""
    return instructions.count(own_cluster)


@pytest.mark.parametrize("call", [call for call in instructions.STATEMENTS if call != instructions.NOOP])
def test_a_hot_call_has_not_grown(call: str, counted: instructions.Counts, kept: instructions.Counts) -> None:
    noop = counted[instructions.NOOP][instructions.ALL] / kept[instructions.NOOP][instructions.ALL] - 1
    assert abs(noop) <= instructions.TOLERANCE, (
        f"it is not pgkeymgr: PL/Python's no-op takes {noop:+.1%}. After an update of Python or PostgreSQL, run"
        " make instructions and commit bench/instructions.json"
    )
    now, before = counted[call][instructions.ALL], kept[call][instructions.ALL]
    change = now / before - 1
    assert abs(change) <= instructions.TOLERANCE, (
        f"{call} takes {now} instructions instead of {before}, {change:+.1%}. If that is meant, or a"
        " gain to be kept, run make instructions and commit bench/instructions.json"
    )
