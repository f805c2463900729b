"""README shows the committed results, all of them as they are."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "readme_tables.py"


def check(root):
    return subprocess.run([sys.executable, root / "scripts" / SCRIPT.name, "--check"], capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / SCRIPT.name).write_bytes(SCRIPT.read_bytes())
    (tmp_path / "README.md").write_bytes((ROOT / "README.md").read_bytes())
    for name in ("claims.csv", "tables"):
        (tmp_path / "reports").mkdir(exist_ok=True)
        (tmp_path / "reports" / name).symlink_to(ROOT / "reports" / name)
    return tmp_path


def test_readme_shows_the_committed_results():
    done = check(ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("said", "instead"), [("| supported |", "| inconclusive |"), ("dvc repro low-label` |\n", "dvc repro low-label` |  \n")]
)
def test_a_number_or_verdict_changed_by_hand_is_seen_and_written_again(copy, said, instead):
    readme = copy / "README.md"
    good = readme.read_text()
    assert said in good
    readme.write_text(good.replace(said, instead, 1))
    assert "readme_tables.py" in check(copy).stderr
    subprocess.run([sys.executable, copy / "scripts" / SCRIPT.name], check=True)
    assert readme.read_text() == good


def test_missing_marks_are_a_sentence(copy):
    (copy / "README.md").write_text("# Loupe\n")
    done = check(copy)
    assert done.returncode == 1 and "must hold the marks" in done.stderr and "Traceback" not in done.stderr
