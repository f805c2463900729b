"""A pre-training stage on several processes: `accelerate launch -m loupe.launch mae-face scale=gpu`, or the same under torchrun.

Each process runs the stage's notebook; the loop shares every batch among them. Process 0 writes what the stage writes. The others work in a
shadow of the project, links to its settings, code and data beside a scratch area of their own, so that nothing is written twice; it is
removed at the end. Stages of many small trainings are not run like this: their jobs go side by side by `scale.workers`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from loupe.config import find_root
from loupe.errors import LoupeError

STAGES = {"mae-face": "02-mae-face", "micron-bert": "04-micron-bert"}
_LINKED = ("conf", "notebooks", "src", "dvc.yaml", "dvc.lock", "pyproject.toml")


def launch(stage: str, overrides: list[str]) -> None:
    """Run `stage` in this process of a launched group (RANK, WORLD_SIZE; alone without them). Raises LoupeError for other stages."""
    if stage not in STAGES:
        raise LoupeError(
            f"Stage {stage} is not one long training: launch {' or '.join(STAGES)}, and run the others with `dvc repro {stage}`."
        )
    if (
        os.environ.pop("ACCELERATE_USE_FSDP", "false").lower() == "true"
    ):  # the loop shards by itself: accelerate's plug-in would not on a CPU
        os.environ["LOUPE_SHARD"] = "1"
    root, rank = find_root(), int(os.environ.get("RANK", "0"))
    os.environ["LOUPE_BATCH"] = "1"
    os.environ.setdefault("MPLBACKEND", "Agg")
    if rank == 0:
        _run(root / "notebooks" / f"{STAGES[stage]}.py", root, overrides)
    else:
        os.environ["LOUPE_QUIET"] = "1"
        with tempfile.TemporaryDirectory(prefix=f"loupe-rank-{rank}-") as folder:
            shadow(root, Path(folder), stage)
            try:
                _run(root / "notebooks" / f"{STAGES[stage]}.py", Path(folder), overrides)
            finally:
                os.chdir(root)
    _leave_group()


def shadow(root: Path, folder: Path, stage: str) -> None:
    """Make `folder` look like the project to a reader of `stage`'s inputs, with room of its own for all that is written."""
    for name in _LINKED:
        if (root / name).exists():
            (folder / name).symlink_to((root / name).resolve())
    (folder / "data" / "runs").mkdir(parents=True)
    for source in sorted((root / "data").iterdir()):
        if source.name not in ("runs", "scratch", "logs"):
            (folder / "data" / source.name).symlink_to(source.resolve())
    assets = root / "data" / "scratch" / "assets"
    if assets.exists():
        shutil.copytree(assets, folder / "data" / "scratch" / "assets")
    if (root / "data" / "runs").exists():
        for source in sorted((root / "data" / "runs").iterdir()):
            if source.name != stage:
                (folder / "data" / "runs" / source.name).symlink_to(source.resolve())


def _run(notebook: Path, home: Path, overrides: list[str]) -> None:
    """The code cells of a percent script, one after another in one namespace, in `home`, with `overrides` in place of its parameters."""
    import jupytext

    cells = jupytext.read(notebook).cells
    os.chdir(home)
    namespace: dict = {"__name__": "__main__", "display": lambda *shown, **options: None}
    for cell in cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, str(notebook), "exec"), namespace)
            if "parameters" in cell.metadata.get("tags", []):
                namespace["overrides"] = list(overrides)


def _leave_group() -> None:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"usage: accelerate launch -m loupe.launch {{{','.join(STAGES)}}} [key=value ...]")
    try:
        launch(sys.argv[1], sys.argv[2:])
    except LoupeError as error:
        sys.exit(f"loupe: {error}")
