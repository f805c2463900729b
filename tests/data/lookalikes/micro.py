"""CASME II, SAMM, SMIC, CAS(ME)3 and the MEGC2019 list, with the official numbers of clips and three to five frames a clip."""

from __future__ import annotations

from pathlib import Path

from lookalikes.drawing import save, workbook

CASME2_HEADER = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units", "Estimated Emotion"]
SAMM_HEADER = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro", "Action Units"]
SAMM_HEADER += ["Estimated Emotion", "Objective Classes", "Notes"]
CASME3_HEADER = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]


def casme2(root: Path, header: list[object] = CASME2_HEADER, pictures: bool = True) -> None:
    """256 rows, 26 subjects. Traps: 21 rows without apex ("/"), row 60 with an offset before its onset, two rows without emotion, frames
    that begin at 46 with holes, two empty columns.
    """
    emotions = (
        ["others"] * 99
        + ["disgust"] * 63
        + ["happiness"] * 32
        + ["repression"] * 27
        + ["surprise"] * 25
        + ["sadness"] * 6
        + ["fear"] * 2
        + [None] * 2
    )
    rows: list[list[object]] = [header]
    for row, emotion in enumerate(emotions):
        subject, name = casme2_clip(row)
        onset, apex, offset = (86, 88, 91) if row == 60 else (46, 48, 50)
        folder = root / "CASME2_RAW_selected" / f"sub{subject:02d}" / name
        for frame in (onset, apex, offset) if pictures else ():
            save(folder / f"img{frame}.jpg", row * 100 + frame)
        rows.append([subject, name, None, onset, "/" if row % 12 == 5 else apex, 19 if row == 60 else offset, None, "4+L10", emotion])
    workbook(root / "CASME2-coding-updated.xlsx", rows)


def casme2_clip(row: int) -> tuple[int, str]:
    """Subject and clip of a row; the clips of MEGC2019 (rows 99..245) come from 24 of the 26 subjects."""
    return row % (26 if row < 99 else 24) + 1, f"EP{row // 16 + 1:02d}_{row % 16 + 1:02d}f"


def samm_clip(row: int) -> tuple[str, str]:
    """Subject and clip of a row; the clips of MEGC2019 (rows 0..132) come from 28 of the 29 subjects."""
    subject = f"{row % (28 if row < 133 else 29) + 6:03d}"
    return subject, f"{subject}_{row // 28 + 1}_{row % 28 + 1}"


def samm(root: Path) -> None:
    """159 rows, 29 subjects. Traps: 13 rows of text above the header, grey pictures, row 56 with a wrong offset, three invalid apexes,
    folders whose pictures follow another pattern, subjects as text with leading zeros.
    """
    emotions = (
        ["Anger"] * 57
        + ["Contempt"] * 12
        + ["Disgust"] * 9
        + ["Fear"] * 8
        + ["Sadness"] * 6
        + ["Happiness"] * 26
        + ["Surprise"] * 15
        + ["Other"] * 26
    )
    rows: list[list[object]] = [[f"About SAMM, line {line}"] for line in range(13)] + [list(SAMM_HEADER)]
    for row, emotion in enumerate(emotions):
        subject, clip = samm_clip(row)
        onset, apex, offset = (5733, 5736, 5739) if row == 56 else (101, 103, 105)
        for frame in (onset, apex, offset):
            name = f"{clip.replace('_', '-')}-{frame}.jpg" if row % 26 == 1 else f"{subject}_{frame:05d}.jpg"
            save(root / "SAMM" / subject / clip / name, row * 100 + frame, grey=True)
        wrong = 573 if row == 56 else offset
        annotated = -1 if row in (125, 132, 133) else apex
        rows.append([subject, clip, 1, onset, annotated, wrong, offset - onset + 1, "Micro - 1/2", "R12 or 15", emotion, 1, None])
    workbook(root / "SAMM_Micro_FACS_Codes_v2.xlsx", rows, "MICRO_ONLY")


def smic(root: Path, camera: str = "HS", padded: bool = False) -> None:
    """HS: 164 clips, 16 subjects; VIS, NIR: 71 clips, 8 subjects. Traps: s1 or s01 names, no annotated apex, pictures numbered from
    anywhere."""
    kinds = {"HS": (70, 51, 43), "VIS": (23, 28, 20), "NIR": (23, 28, 20)}[camera]
    people = 16 if camera == "HS" else 8
    for kind, (number, short) in zip(("negative", "positive", "surprise"), zip(kinds, ("ne", "po", "sur"), strict=True), strict=True):
        for clip in range(number):
            person = clip % people + 1
            name = f"s{person:02d}" if padded else f"s{person}"
            folder = root / camera / name / "micro" / kind / f"{name}_{short}_{clip // people + 1:02d}"
            for frame in range(3):
                save(folder / f"image{140 + frame}.bmp", hash_of(camera, kind, clip) + frame)


def casme3_a(root: Path, header: list[object] = CASME3_HEADER) -> None:
    """860 rows, 100 subjects. Traps: one letter with several clips, six rows with the published mistakes, `spNO` against `spNo`, depth
    beside colour."""
    emotions = (["disgust"] * 250 + ["surprise"] * 187 + ["others"] * 159 + ["fear"] * 86 + ["anger"] * 64 + ["sad"] * 57 + ["Happy"] * 57)[
        :860
    ]
    rows: list[list[object]] = [header]
    true = {
        128: (157, 160, 163),
        708: (30, 32, 34),
        749: (2647, 2649, 2651),
        750: (1, 1, 5),
        796: (1841, 1843, 1845),
        798: (2399, 2401, 2403),
    }
    wrong = {
        128: (157, 60, 163),
        708: (30, 32, 3),
        749: (26470, 2649, 2651),
        750: (0, 0, 5),
        796: (1841, 1843, 184),
        798: (2399, 2401, 240),
    }
    for row, emotion in enumerate(emotions):
        subject, letter = row % 100 + 1, "abc"[row // 400]  # rows 100 apart share subject and letter
        onset, apex, offset = true.get(row, (row + 3000, row + 3002, row + 3004))
        folder = root / "ME_A" / f"spNo.{subject}" / letter
        for frame in sorted({onset, apex, offset}):
            save(folder / "color" / f"{frame}.jpg", row * 10 + frame)
        if row < 20:
            save(folder / "depth" / f"{onset}.png", row, grey=True)
        rows.append([f"spNO.{subject}", letter, *wrong.get(row, (onset, apex, offset)), "4+7", "IV", emotion])
    workbook(root / "annotation" / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", rows, "label")


def casme3_c(root: Path) -> None:
    """166 rows, 31 subjects; no apex; a Chinese comma in the action units of row 16."""
    rows: list[list[object]] = [["sub", "count", "onset", "offset", "au"]]
    for row in range(166):
        subject, count = row % 31 + 1, row // 31 + 1
        for frame in range(373, 376):
            save(root / "ME_C" / f"{subject:02d}" / str(count) / "color" / f"{frame}.jpg", row * 10 + frame)
        rows.append([subject, count, 373, 375, "4，7" if row == 16 else "4,7"])
    workbook(root / "CAS(ME)3_part_C_ME.xlsx", rows)


def megc2019(root: Path) -> None:
    """The three sets and the organisers' list: 442 clips, 68 subjects, two negative clips of CASME II left out, SMIC named s01."""
    casme2(root / "CASME2")
    samm(root / "SAMM")
    smic(root / "SMIC")
    rows = []
    for row in range(101, 246):
        kind = 0 if row < 162 or 194 <= row < 221 else 1 if row < 194 else 2
        subject, clip = casme2_clip(row)
        rows.append(f"casme2,sub{subject:02d},{clip},{kind}")
    for kind, (number, short) in enumerate(zip((70, 51, 43), ("ne", "po", "sur"), strict=True)):
        for clip in range(number):
            person = f"s{clip % 16 + 1:02d}"
            rows.append(f"smic,{person},{person}_{short}_{clip // 16 + 1:02d},{kind}")
    for row in range(133):
        subject, clip = samm_clip(row)
        rows.append(f"samm,{subject},{clip},{0 if row < 92 else 1 if row < 118 else 2}")
    (root / "combined_3class_gt.csv").write_text("\n".join(rows) + "\n")


def hash_of(*parts: object) -> int:
    """A picture number that is the same in every process."""
    return sum(ord(character) * 31**place for place, character in enumerate("".join(map(str, parts)))) % 1_000_000
