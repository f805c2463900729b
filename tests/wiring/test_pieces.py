"""The study in pieces on a toy study: time-outs, the same tables at the end, archives that hold the results and nothing heavy."""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

from processes import processes_in, wait_for

ROOT = Path(__file__).resolve().parents[2]


def pieces(toy, *arguments):
    return toy.command(sys.executable, "scripts/pieces.py", "--scale", "big", "--into", str(toy.root.parent / "run"), *arguments)


def test_pieces_end_with_the_tables_of_one_run(toy):
    shutil.copy2(ROOT / "scripts/pieces.py", toy.root / "scripts/pieces.py")
    toy.slow_notebook(1.5)
    results = []
    while not results or results[-1].returncode == 3:
        assert len(results) < 12
        results.append(pieces(toy, "--minutes", "0.15", "--pack", "home"))
        wait_for(lambda: not processes_in(toy.root.parent / "run"))
    assert results[-1].returncode == 0, results[-1].stderr
    assert len(results) > 1 and "the same command goes on" in results[0].stderr
    assert (toy.root.parent / "run/reports/tables/table/squares.csv").read_text() == "0,0\n1,1\n2,4\n3,9\n4,16\n5,25\n"
    with tarfile.open(toy.root / "home/results-1.tar.gz") as archive:
        assert "reports/tables/table/squares.csv" in archive.getnames()


def test_an_error_of_the_study_is_handed_on(toy):
    shutil.copy2(ROOT / "scripts/pieces.py", toy.root / "scripts/pieces.py")
    failed = toy.command(sys.executable, "scripts/pieces.py", "--scale", "none")
    assert failed.returncode == 1 and "conf/scale/none.yaml does not exist" in failed.stderr
    assert "above 0" in pieces(toy, "--minutes", "0").stderr and not (toy.root / "packed").exists()


def test_archives_are_small_whole_and_without_weights(tmp_path):
    sys.path.insert(0, str(ROOT / "scripts"))
    from pieces import pack

    home, sizes = (
        tmp_path / "run",
        {"reports/a.csv": 700, "data/runs/x/p.parquet": 600, "data/logs/l.jsonl": 300, "dvc.lock": 5, "reports/big.html": 3000},
    )
    for name, size in {**sizes, "data/runs/x/encoder.safetensors": 9000, "data/prepared/images.npy": 9000}.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"x" * size)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/results-9.tar.gz").write_bytes(b"of an earlier run")
    archives = [path for path, _ in pack(home, tmp_path / "home", 1000 / 2**20)]
    held = []
    for path in archives:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            assert sum(member.size for member in members) <= 1000 or len(members) == 1
            held += [member.name for member in members]
    assert sorted(held) == sorted(sizes) and sorted((tmp_path / "home").iterdir()) == sorted(archives)
