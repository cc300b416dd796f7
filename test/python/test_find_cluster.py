"""The cluster that ``pgkeymgr init`` and ``root new`` find by its data directory, or as the only cluster."""

from pathlib import Path

import pytest
from pgkeymgr.command import cluster
from pgkeymgr.errors import ParameterError


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in the place of Debian's /etc/postgresql, without a cluster."""
    directory = tmp_path / "etc"
    monkeypatch.setattr(cluster, "_DEBIAN", directory)
    return directory


def create(debian: Path, name: str) -> tuple[Path, Path]:
    """Create the directories of a cluster as pg_createcluster does. Return postgresql.conf and the data."""
    data = debian.parent / "lib" / name
    data.mkdir(parents=True)
    config_file = debian / "15" / name / "postgresql.conf"
    config_file.parent.mkdir(parents=True)
    config_file.write_text(f"data_directory = '{data}'\t\t# use data in another directory\n")
    return config_file, data


def test_no_cluster(debian: Path) -> None:
    """Make deps installs PostgreSQL and creates no cluster."""
    with pytest.raises(ParameterError, match=f"no cluster exists in {debian}") as raised:
        cluster.find_cluster(None, None)
    assert "pg_createcluster" in str(raised.value.hint)


def test_the_only_cluster(debian: Path) -> None:
    config_file, data = create(debian, "main")
    assert cluster.find_cluster(None, None) == cluster.Cluster(config_file, data)


def test_a_data_directory_of_debian(debian: Path) -> None:
    """The hint about several clusters asks for a data directory, which has no postgresql.conf on Debian."""
    create(debian, "main")
    config_file, data = create(debian, "other")
    with pytest.raises(ParameterError, match="2 clusters exist") as raised:
        cluster.find_cluster(None, None)
    assert "--pgdata" in str(raised.value.hint)
    assert cluster.find_cluster(None, data) == cluster.Cluster(config_file, data)
    link = debian.parent / "link"
    link.symlink_to(data)
    assert cluster.find_cluster(None, link).config_file == config_file


def test_a_data_directory_with_its_configuration(debian: Path, tmp_path: Path) -> None:
    create(debian, "main")
    config_file = tmp_path / "data" / "postgresql.conf"
    config_file.parent.mkdir()
    config_file.touch()
    assert cluster.find_cluster(None, tmp_path / "data").config_file == config_file


def test_a_directory_of_no_cluster(debian: Path, tmp_path: Path) -> None:
    create(debian, "main")
    with pytest.raises(ParameterError, match=r"postgresql\.conf does not exist"):
        cluster.find_cluster(None, tmp_path / "nothing")
