"""docs/sharing.md: with another's outputs from a folder, nothing need run, and a changed setting still runs what it concerns."""

from __future__ import annotations

import shutil


def files(toy) -> dict[str, bytes]:
    outputs = [toy.root / "data/runs", toy.root / "reports/notebooks"]
    return {path.relative_to(toy.root).as_posix(): path.read_bytes() for out in outputs for path in out.rglob("*") if path.is_file()}


def test_pulled_outputs_are_the_pushed_ones_and_nothing_runs(toy, tmp_path):
    add_remote = ["dvc", "remote", "add", "--local", "--default", "results", str(tmp_path / "results")]
    toy.command("dvc", "config", "--local", "core.no_scm", "true", check=True)
    toy.command("dvc", "repro", check=True)
    toy.command(*add_remote, check=True)
    pushed = toy.command("dvc", "push")
    assert pushed.returncode == 0, pushed.stderr

    there = type(toy)(tmp_path / "there")
    shutil.copy2(toy.root / "dvc.lock", there.root)  # with git: a clone at the same commit
    shutil.copytree(toy.root / "reports/tables", there.root / "reports/tables")
    there.command("dvc", "config", "--local", "core.no_scm", "true", check=True)
    there.command(*add_remote, check=True)
    pulled = there.command("dvc", "pull")
    assert pulled.returncode == 0, pulled.stderr
    assert files(there) == files(toy) and len(files(there)) == 8
    again = there.command("dvc", "repro")
    assert again.returncode == 0 and "Running stage" not in again.stdout, again.stdout
    there.write("conf/scale/big.yaml", "steps: 5\n")
    assert "Running stage 'slow'" in there.command("dvc", "repro", "--dry").stdout
