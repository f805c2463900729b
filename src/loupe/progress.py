"""Progress of long work: a live bar for people, a quiet one for logs, never anything in a hashed output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterable[T]:
    """Iterate over `items` with a progress bar called `label`.

    Under papermill (`LOUPE_BATCH=1`) the bar goes to stderr at most every ten seconds: the runner shows stderr live and drops it from the
    saved notebook, so times never reach a hashed output. In JupyterLab the notebook widget is used. Worker processes are quiet
    (`LOUPE_QUIET=1`): their parent shows how many jobs are done.
    """
    if os.environ.get("LOUPE_QUIET") == "1":
        return items
    if os.environ.get("LOUPE_BATCH") == "1":
        from tqdm import tqdm

        return tqdm(items, desc=label, total=total, file=sys.stderr, mininterval=10, dynamic_ncols=False, ncols=88)
    from tqdm.auto import tqdm

    return tqdm(items, desc=label, total=total)
