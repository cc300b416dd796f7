"""The getkey script that ``pgkeymgr init`` writes."""

from pathlib import Path

import pytest
from pgkeymgr.command import getkey_script

SAMPLE = Path(__file__).parents[2] / "scripts" / "getkey-file.sample"


@pytest.mark.parametrize("major", ["15", "17", "18", "100"])
def test_sample_of_each_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, major: str) -> None:
    """The installed sample names the directory of the PostgreSQL that it was installed for."""
    installed = SAMPLE.read_text().replace("/etc/postgresql/15/", f"/etc/postgresql/{major}/")
    (tmp_path / SAMPLE.name).write_text(installed)
    monkeypatch.setattr(getkey_script, "_DIRECTORIES", [tmp_path])
    text = getkey_script.script_for_file(Path(r"/srv/a key\1"))
    assert r"file='/srv/a key\1'" in text.splitlines()
    assert "/etc/postgresql" not in text
