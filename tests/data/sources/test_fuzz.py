"""Damaged files: a reader either refuses with one sentence or accounts for every entry; it never crashes and never invents a label.

A few hundred files here, always the same ones; `python scripts/fuzz_annotations.py 10000` draws as many new ones.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lookalikes import drawing, micro, stills
from lookalikes.damage import FAST, mutated

from loupe.data.manifest import STILL_CLASSES
from loupe.data.sources import affectnet, affwild2, casia_webface, casme2, casme3, celeba, fer2013, imdb_wiki, megc2019, rafdb, samm
from loupe.data.sources import table as own_faces
from loupe.data.sources.listing import Dropped
from loupe.data.sources.micro import CLASSES, clip_rows
from loupe.data.sources.recordio import read_record
from loupe.data.sources.sheets import csv_table, excel_sheets, whole
from loupe.errors import LoupeError

CELL = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["/", "²", "１", "nan", "-0", "1e3", "46.0"]),
)
TABLES = {
    "casme2": (casme2.parse, [*micro.CASME2_HEADER], [1, "EP02_01f", None, 46, 48, 50, None, "4", "disgust"]),
    "samm": (samm.parse, [*micro.SAMM_HEADER], ["006", "006_1_2", 1, 101, 103, 105, 5, "Micro", "12", "Anger", 1, None]),
    "casme3a": (casme3.parse_a, [*micro.CASME3_HEADER], ["spNO.1", "a", 175, 178, 190, "4", "IV", "disgust"]),
    "casme3c": (casme3.parse_c, ["sub", "count", "onset", "offset", "au"], [1, 1, 373, 375, "4"]),
}


@pytest.mark.parametrize("name", TABLES)
@given(data=st.data())
@FAST
def test_excel_tables(name, data, tmp_path):
    parse, header, row = TABLES[name]
    cells = [list(header), *(list(row) for _ in range(4))]
    for _ in range(data.draw(st.integers(1, 4))):
        line = data.draw(st.integers(0, len(cells) - 1))
        column = data.draw(st.integers(0, len(header) - 1))
        cells[line][column] = data.draw(CELL)
    dropped = Dropped()
    try:
        clips, found = parse({"Sheet1": cells}, "table.xlsx", tmp_path, dropped)
    except LoupeError as error:
        assert "\n" not in str(error) and "table.xlsx" in str(error)
        return
    assert found == len(clips) + len(dropped.rows)
    frames = {number: tmp_path / f"{number}.jpg" for number in (46, 47, 48, 50, 101, 103, 105, 175, 178, 190, 373, 374, 375)}
    placed = [clip if clip.folder else clip.__class__(**{**clip.__dict__, "folder": tmp_path}) for clip in clips]
    table, _ = clip_rows(placed, tmp_path, dropped, frames_of=lambda folder: frames)
    assert found == table["clip"].nunique() + len(dropped.rows)
    assert table["label"].isin([-1, 0, 1, 2]).all()
    assert (table["onset"] < table["apex"]).all() and (table["apex"] <= table["offset"]).all()
    assert all(row.label_name == CLASSES[row.label] for row in table.itertuples() if row.label >= 0)


@given(rows=mutated([stills.AFFWILD2_HEADER, "0", "1", "-1", "7", "3"]))
@FAST
def test_affwild2_annotations(rows):
    try:
        labels = affwild2.parse(rows, "video.txt")
    except LoupeError as error:
        assert "video.txt" in str(error)
        return
    order = [field.strip().capitalize() for field in rows[0].split(",")]
    for label, row in zip(labels, rows[1:], strict=False):
        number = whole(row)
        expected = -1 if number == -1 else STILL_CLASSES.index(order[number]) if number is not None and 0 <= number < len(order) else -2
        assert label == expected


@given(rows=mutated([f"train_{n:05d}.jpg {n}" for n in range(1, 8)]))
@FAST
def test_rafdb_list(rows):
    present = {f"train_{n:05d}_aligned.jpg" for n in range(1, 8)}
    dropped = Dropped()
    try:
        table, found = rafdb.parse(rows, "list.txt", present, dropped)
    except LoupeError as error:
        assert "list.txt" in str(error)
        return
    assert found == len(table) + len(dropped.rows) and set(table["path"]) <= present and not table.duplicated("path").any()
    assert all(STILL_CLASSES[row.label] == row.label_name for row in table.itertuples())


@given(rows=mutated(["casme2,sub01,EP02_01f,1", "smic,s01,s01_ne_01,0", "samm,006,006_1_2,0", "samm,007,007_3_1,2"]))
@FAST
def test_megc_list(rows):
    try:
        entries = megc2019.parse(rows, "list.csv")
    except LoupeError as error:
        assert "list.csv" in str(error)
        return
    assert len(entries) == sum(bool(row.strip()) for row in rows) and all(entry.label in (0, 1, 2) for entry in entries)


@given(rows=mutated([stills.AFFECTNET_HEADER, *(f"1/a{n}.jpg,1,1,9,9,1;2,{n},0.5,-2" for n in range(11))]))
@FAST
def test_affectnet_csv(rows, tmp_path):
    path = tmp_path / "training.csv"
    path.write_text("\n".join(rows), encoding="utf-8", errors="replace")
    dropped = Dropped()
    try:
        cells = csv_table(path, affectnet._CSV)
    except LoupeError as error:
        assert "training.csv" in str(error)
        return
    table, tally = affectnet.parse_old(cells, "train", "training.csv", {f"1/a{n}.jpg" for n in range(11)}, dropped)
    assert len(cells) == len(table) + len(dropped.rows) and sum(tally) <= len(cells)
    assert table["code"].isin(range(10)).all() and not table.duplicated("path").any()
    assert (table["valence"].isna() | table["valence"].abs().le(1)).all()


@given(rows=mutated(["emotion,pixels,Usage", *(f"{n},{' '.join(['7'] * 2304)},Training" for n in range(7))]))
@FAST
def test_fer2013_csv(rows, tmp_path):
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join(rows), encoding="utf-8", errors="replace")
    dropped = Dropped()
    try:
        cells, offsets = fer2013.pixel_lines(path)
    except LoupeError as error:
        assert "fer2013.csv" in str(error)
        return
    table = fer2013.parse(cells, "fer2013.csv", dropped)
    assert len(cells) == len(offsets) == len(table) + len(dropped.rows)
    assert all(STILL_CLASSES[row.label] == row.label_name for row in table.itertuples())


@given(
    rows=mutated(
        ["path,label,subject,split,clip,frame,fps,onset,apex,offset", *(f"{n}.jpg,none,s{n % 2},,c,{n},30,1,,4" for n in range(1, 5))]
    )
)
@FAST
def test_faces_csv(rows, tmp_path):
    path = tmp_path / "faces.csv"
    path.write_text("\n".join(rows), encoding="utf-8", errors="replace")
    dropped = Dropped()
    try:
        cells = csv_table(path, ())
        table = own_faces.parse(cells, "faces.csv", dropped)
    except LoupeError as error:
        assert "faces.csv" in str(error) and "\n" not in str(error)
        return
    assert len(cells) == len(table) + len(dropped.rows) and not table.duplicated("path").any()
    assert table["split"].isin(["loso", *own_faces.SPLITS]).all()
    clips = table[table["split"] == "loso"]
    assert clips.empty or clips.groupby("clip")["role"].apply(lambda roles: {"onset", "apex"} <= set(roles)).all()


@given(rows=mutated(["3", "Bald Male Smiling", "1.jpg -1  1 -1", "2.jpg  1 -1 -1", "3.jpg -1 -1  1"]))
@FAST
def test_celeba_attributes(rows):
    try:
        table = celeba.parse_attributes(rows, "list_attr_celeba.txt")
    except LoupeError as error:
        assert "list_attr_celeba.txt" in str(error)
        return
    assert len(table) == whole(rows[0]) and {male for male, _ in table.values()} <= {0.0, 1.0}


@given(rows=mutated(["0\t0", "1\t40", "2\t1200"]))
@FAST
def test_record_index(rows):
    try:
        offsets = casia_webface.parse_index(rows, "train.idx")
    except LoupeError as error:
        assert "train.idx" in str(error)
        return
    assert len(offsets) == sum(bool(row.strip()) for row in rows) and min(offsets.values(), default=0) >= 0


@given(at=st.integers(0, 10**6), value=st.integers(0, 255), offset=st.integers(0, 4000))
@FAST
def test_record_bytes(at, value, offset, tmp_path):
    path = tmp_path / "train.rec"
    if not path.exists():
        stills.casia_records(tmp_path)
        (tmp_path / "clean").write_bytes(path.read_bytes())
    data = bytearray((tmp_path / "clean").read_bytes())
    data[at % min(len(data), 120)] = value  # the first records' headers
    path.write_bytes(bytes(data))
    try:
        record = read_record(path, offset if value % 2 else 0)
    except LoupeError as error:
        assert "train.rec" in str(error)
        return
    assert len(record.image) < len(data) and len(record.labels) >= 1


@given(
    fields=st.lists(
        st.tuples(
            st.floats(), st.floats(), st.sampled_from(["00/a.jpg", "", "../x"]), st.floats(), st.floats(), st.sampled_from(["Ann", ""])
        ),
        max_size=5,
    )
)
@FAST
def test_imdb_rows(fields):
    names = ("dob", "photo_taken", "full_path", "gender", "face_score", "name")
    columns = {}
    for place, name in enumerate(names):
        column = np.empty(len(fields), dtype=object)
        column[:] = [field[place] for field in fields]
        columns[name] = column
    dropped = Dropped()
    table = imdb_wiki.parse(columns, "imdb", "imdb_crop", {"00/a.jpg"}, dropped)
    assert len(table) + len(dropped.rows) == len(fields) and len(table) <= 1
    assert (table["age"].isna() | table["age"].between(0, 100)).all() and (table["sex"].isna() | table["sex"].isin([0, 1])).all()


@given(rows=mutated([f"{n:06d}.jpg {n % 3}" for n in range(1, 8)]))
@FAST
def test_celeba_pairs(rows):
    try:
        table = celeba.parse_pairs(rows, "identity_CelebA.txt")
    except LoupeError as error:
        assert "identity_CelebA.txt, line" in str(error)
        return
    assert len(table) == sum(bool(row.split()) for row in rows) and all(isinstance(value, int) for value in table.values())


@given(rows=mutated(["Usage,Image name," + ",".join(fer2013.VOTES), *(f"Training,fer{n}.png,{n},0,0,0,9,0,0,1,0,0" for n in range(5))]))
@FAST
def test_ferplus_votes(rows, tmp_path):
    path = tmp_path / "fer2013new.csv"
    path.write_text("\n".join(rows), encoding="utf-8", errors="replace")
    cells, dropped = pd.DataFrame({"line": range(5)}), Dropped()
    table = cells.assign(split="train", label=0, label_name="Neutral", emotion="Neutral")
    try:
        votes = csv_table(path, ("Usage", "Image name", *fer2013.VOTES))
        found = fer2013.parse_votes(votes, cells, table, dropped)
    except LoupeError as error:
        assert "fer2013new.csv" in str(error) and "\n" not in str(error)
        return
    assert len(found) + len(dropped.rows) == 5
    assert all(row.label == (STILL_CLASSES.index(row.label_name) if row.label_name in STILL_CLASSES else -1) for row in found.itertuples())


def test_bytes_that_are_no_workbook_or_text(tmp_path):
    pytest.importorskip("openpyxl")
    workbook = tmp_path / "book.xlsx"
    drawing.workbook(workbook, [["sub", "count", "onset", "offset", "au"], [1, 1, 2, 3, "4"]])
    clean = workbook.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        data = bytearray(clean)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        workbook.write_bytes(bytes(data))
        try:
            casme3.parse_c(excel_sheets(workbook), "book.xlsx", tmp_path, Dropped())
        except LoupeError as error:
            assert "book.xlsx" in str(error)
            refused += 1
    assert refused > 5
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00path\x00")
    with pytest.raises(LoupeError, match="list.csv"):
        csv_table(tmp_path / "list.csv", ("path",))
