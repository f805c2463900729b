"""SMIC (Li et al., FG 2013): three cameras (HS 100 fps; VIS and NIR 25 fps), classes by folder, no apex.

Layout: `HS/s1/micro/negative/s1_ne_01/*`, or the cropped copy `SMIC_all_cropped/HS/s01/...` (VIS and NIR beside it). Raw folders say `s1`,
the cropped ones and the MEGC2019 list say `s01`: names are brought to two digits. A folder is one clip from onset to offset; the apex is
the midpoint, as usual. Subjects keep one name in all three cameras.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.micro import CLASSES, Clip, clip_rows
from loupe.data.sources.paths import unpacked
from loupe.data.sources.pictures import check_root, find_folder, numbered_pictures, subfolders
from loupe.errors import LoupeError

TITLE = "SMIC"
FPS = {"HS": 100.0, "VIS": 25.0, "NIR": 25.0}
OFFICIAL = {  # camera: clips, subjects, clips a class
    "HS": (164, 16, {"negative": 70, "positive": 51, "surprise": 43}),
    "VIS": (71, 8, {}),
    "NIR": (71, 8, {}),
}
_SUBJECT = re.compile(r"s(?:ub)?0*(\d{1,3})", re.IGNORECASE | re.ASCII)
_CLIP = re.compile(r"s(?:ub)?0*(\d{1,3})_(.+)", re.IGNORECASE | re.ASCII)


def read(root: Path, camera: str) -> Listing:
    """Read one camera's folders; raises LoupeError where they are absent or hold no clip."""
    check_root(root, TITLE)
    names = [camera, f"SMIC-{camera}", f"SMIC_{camera}"]
    inside = (find_folder(folder, names, depth=3) for folder in subfolders(root))
    base = next((found for found in inside if found), None) or find_folder(
        root, names, depth=0
    )  # the root itself may be called SMIC-HS, too
    if base is None:
        raise LoupeError(f"{root} holds no folder {camera}: unpack SMIC there, so that {camera}/s1/micro/negative/... exists.")
    dropped = Dropped()
    clips = parse(base, camera, dropped, root)
    if not clips:
        raise LoupeError(f"{base} holds no clips (s1/micro/negative/s1_ne_01/...): unpack SMIC {camera} there.")
    found = len(clips) + len(dropped.rows)
    table, mended = clip_rows(clips, root, dropped)
    total, people, kinds = OFFICIAL[camera]
    used = len(table.drop_duplicates(["subject", "clip"]))
    counts = [
        Count("clips", found, (total,), source="Li et al. 2013"),
        Count("clips with frames", used, (total,), source="Li et al. 2013"),
        Count("subjects", len({clip.subject for clip in clips}), (people,), source="Li et al. 2013"),
    ]
    counts += [Count(f"{name} clips", sum(clip.kind == name for clip in clips), (n,), source="MEGC2019") for name, n in kinds.items()]
    release = f"{base.relative_to(root).as_posix()}".removeprefix(".") or base.name
    return Listing(finish(table, f"smic-{camera.lower()}", release), dropped.table(), found, used, "clip", release, counts, tuple(mended))


def parse(base: Path, camera: str, dropped: Dropped, root: Path) -> list[Clip]:
    """Every folder base/<subject>/micro/<class>/<clip>; names outside this scheme go to `dropped`."""
    clips = []
    for person in subfolders(base):
        for group in subfolders(unpacked(person / "micro")):
            for folder in subfolders(group):
                item, kind = folder.relative_to(root).as_posix(), group.name.lower()
                subject, name = canonical_subject(person.name), canonical_clip(folder.name)
                if kind not in CLASSES:
                    dropped.add(item, "folder is none of negative, positive, surprise", group.name)
                elif not subject or not name or not name.startswith(subject + "_"):
                    dropped.add(item, "name does not follow s1/s1_ne_01", f"{person.name}/{folder.name}")
                else:
                    numbers = list(numbered_pictures(folder))
                    clips.append(
                        Clip(
                            item=item,
                            row=-1,
                            subject=f"smic-{subject}",
                            clip=f"smic-{camera.lower()}-{name}",
                            folder=folder,
                            onset=numbers[0] if numbers else None,
                            apex=None,
                            offset=numbers[-1] if numbers else None,
                            fps=FPS[camera],
                            emotion=kind,
                            kind=kind,
                        )
                    )
    return clips


def canonical_subject(name: str) -> str:
    """`s1`, `S01`, `sub1` -> `s01`; "" for anything else."""
    match = _SUBJECT.fullmatch(name)
    return f"s{int(match.group(1)):02d}" if match else ""


def canonical_clip(name: str) -> str:
    """`s1_ne_01` -> `s01_ne_01`; "" for anything else."""
    match = _CLIP.fullmatch(name)
    return f"s{int(match.group(1)):02d}_{match.group(2).lower()}" if match else ""


read_hs, read_vis, read_nir = (partial(read, camera=camera) for camera in FPS)
