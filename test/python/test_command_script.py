"""The script ``pgkeymgr`` where its libraries are missing, as after an upgrade of Python."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "pgkeymgr.in"


def test_without_its_libraries(tmp_path: Path) -> None:
    """The error names the directory and a remedy. It has no traceback."""
    libraries = tmp_path / "1.0.0" / "cp999"
    script = tmp_path / "pgkeymgr"
    text = SCRIPT.read_text(encoding="utf-8").replace("@libdir@", str(libraries))
    script.write_text(text, encoding="utf-8")
    # Without site-packages: those of the tests may have the package.
    command = [sys.executable, "-I", "-S", str(script), "status"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"cannot import its Python package from {libraries}: " in done.stderr
    assert "make install" in done.stderr
    assert "Traceback" not in done.stderr
