"""`video`: a folder of videos, every frame of each, without labels.

`film.mp4` beside others, or `<subject>/film.mp4`. A video in a sub-folder is of the subject that the folder names, any other of a subject
of its own. Frames keep their times (column `time`, s); `fps` is the average rate. Rows are `film.mp4#12`. For labelled frames write a
`csv`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.pictures import BESIDE, check_root, file_names, left_over, subfolders
from loupe.data.video import SUFFIXES, load_decoder, probe
from loupe.errors import LoupeError
from loupe.progress import track

TITLE = "video"
DAMAGED_FILM = "film is missing or damaged"


def read(root: Path) -> Listing:
    """Decode every video once for its times; one that is damaged, cut short or not to be shown is dropped as DAMAGED_FILM. Raises
    LoupeError where there is none.
    """
    check_root(root, TITLE)
    load_decoder()
    videos = sorted(folder / name for folder in (root, *subfolders(root)) for name in file_names(folder, SUFFIXES))
    if not videos:
        raise LoupeError(f"{root} holds no videos ({', '.join(SUFFIXES)}), neither directly nor in sub-folders of one subject each.")
    parts, variable, dropped = [], 0, Dropped()
    for video in track(videos, "videos"):
        name = video.relative_to(root).as_posix()
        try:
            facts = probe(video)
        except LoupeError as error:
            dropped.add(name, DAMAGED_FILM, str(error))
            continue
        variable += facts.variable
        numbers = range(len(facts.times))
        rows = {"path": [f"{name}#{number}" for number in numbers], "frame": numbers, "time": facts.times}
        subject = name.split("/")[0] if "/" in name else video.stem
        parts.append(pd.DataFrame(rows).assign(subject=f"video-{subject}", clip=f"video-{name}", fps=facts.fps))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"path": []})
    found = len(table) + len(dropped.rows)
    counts = [Count("videos", len(videos)), Count("damaged videos", len(dropped.rows)), Count("videos of variable frame rate", variable)]
    release = f"{len(videos)} videos"
    used = {video.relative_to(root).as_posix() for video in videos}
    for item, why in left_over(root, used, SUFFIXES, "deeper than <subject>/<film>"):
        dropped.add(item, BESIDE + why)
    return Listing(finish(table.assign(split="unlabelled"), "video", release), dropped.table(), found, len(table), "frame", release, counts)
