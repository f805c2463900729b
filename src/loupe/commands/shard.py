"""`loupe data shard`: a store as WebDataset tar shards."""

from __future__ import annotations

from pathlib import Path

import typer


def shard(
    store: Path = typer.Argument(help="Folder with images.npy and manifest.parquet."),  # noqa: B008
    out: str = typer.Argument(help="Folder to write, or s3://…, gs://… (with s3fs or gcsfs installed)."),
    shard_size: int = typer.Option(1000, "--shard-size", help="Faces a shard."),
) -> None:
    """Write a store as WebDataset tar shards with an index of their checksums. Run again after a kill: whole shards stay."""
    from loupe.data.shards import write_shards

    index = write_shards(store, out, shard_size)
    print(f"{index['count']} faces in {len(index['shards'])} shards: {out}")
