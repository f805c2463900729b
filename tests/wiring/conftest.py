"""A toy study (two stages, a second each) that runs through the project's own runner, DVC and study script."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

_HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Toy

# %% tags=["parameters"]
overrides = []
note = ""
"""

# Writes one file a cell to the scratch area and skips what is there, as the real stages do.
_SLOW = """
# %%
import os, sys, time
from pathlib import Path

bench = Path("data/scratch/slow")
bench.mkdir(parents=True, exist_ok=True)
for step in range(6):
    cell = bench / f"{step}.txt"
    if not cell.exists():
        Path("data/logs").mkdir(exist_ok=True)
        with open("data/logs/computed.txt", "a") as log:
            log.write(f"{step} {os.getpid()}\\n")
        time.sleep(STEP)
        (bench / "tmp").write_text(str(step**2))
        os.replace(bench / "tmp", cell)
    print("step", step, flush=True)
    print("took a while", time.time(), file=sys.stderr)

# %%
Path("data/runs/slow").mkdir(parents=True)
for cell in bench.glob("*.txt"):
    Path("data/runs/slow", cell.name).write_text(cell.read_text())
"""

_TABLE = """
# %%
from pathlib import Path

rows = sorted(Path("data/runs/slow").iterdir())
table = Path("reports/tables/table")
table.mkdir(parents=True)
(table / "squares.csv").write_text("".join(f"{row.stem},{row.read_text()}\\n" for row in rows))
{"rows": len(rows)}
"""

_PIPELINE = """
vars: [conf/study.yaml]
stages:
  slow:
    cmd: python src/run_notebook.py notebooks/01-slow.py reports/notebooks/01-slow.ipynb -o scale=${scale}
    deps: [notebooks/01-slow.py]
    params: [{"conf/scale/${scale}.yaml": }]
    outs: [data/runs/slow, reports/notebooks/01-slow.ipynb]
  table:
    cmd: python src/run_notebook.py notebooks/02-table.py reports/notebooks/02-table.ipynb -o scale=${scale}
    deps: [notebooks/02-table.py, data/runs/slow]
    outs: [reports/notebooks/02-table.ipynb]
    plots: [{reports/tables/table: {cache: false}}]
"""


class Toy:
    """A project folder with the real runner and study script, and notebooks that a test may replace."""

    def __init__(self, root: Path):
        self.root = root
        self.environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        for name in ("LOUPE_BATCH", "LOUPE_COMMIT", "LOUPE_OWNER", "DVC_STAGE", "PYTHONPATH"):
            self.environment.pop(name, None)
        for file in (
            "src/run_notebook.py",
            "src/loupe/__init__.py",
            "src/loupe/errors.py",
            "src/loupe/kernel.py",
            "src/loupe/reporting/__init__.py",
            "src/loupe/checkout.py",
            "src/loupe/machine.py",
            "src/loupe/reporting/provenance.py",
            "scripts/study.py",
            "scripts/one_study.py",
            "jupytext.toml",
            ".dvcignore",
            ".gitignore",
            ".dvc/config",
            ".dvc/.gitignore",
        ):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, root / file)
        self.write("conf/study.yaml", "scale: big\ndata: generated\nraw: data/raw\n")
        self.write("conf/scale/big.yaml", "steps: 6\n")
        self.write("conf/scale/tiny.yaml", "steps: 3\n")
        self.write("conf/data/generated.yaml", "seed: 0\n")
        self.write("dvc.yaml", _PIPELINE)
        self.notebook("01-slow", _SLOW.replace("STEP", "0.02"))
        self.notebook("02-table", _TABLE)

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text, encoding="utf-8")

    def slow_notebook(self, seconds_a_step: float) -> None:
        self.notebook("01-slow", _SLOW.replace("STEP", str(seconds_a_step)))

    def notebook(self, name: str, body: str) -> None:
        self.write(f"notebooks/{name}.py", _HEADER + body)

    def commit(self) -> str:
        """Make the folder a repository, or commit what changed; returns the commit."""
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "-c", "core.hooksPath="]
        for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "now"]):
            self.command(*git, *words, check=True)
        return self.command("git", "rev-parse", "HEAD", check=True).stdout.strip()

    def notes(self, home: Path | None = None) -> list[dict]:
        """What the runner noted of each finished stage, below `home` (a copy; this folder if not given)."""
        return [json.loads(line) for line in ((home or self.root) / "data/logs/made.jsonl").read_text().splitlines()]

    def command(self, *words: str, check: bool = False) -> subprocess.CompletedProcess:
        return subprocess.run(words, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=120, check=check)

    def start(self, *words: str) -> subprocess.Popen:
        return subprocess.Popen(words, cwd=self.root, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        return self.command("python", "src/run_notebook.py", f"notebooks/{name}.py", f"reports/notebooks/{name}.ipynb", *arguments)


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path / "toy")
