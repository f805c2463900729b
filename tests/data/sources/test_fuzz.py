"""Damaged files: a reader either refuses with one sentence or accounts for every entry; it never crashes and never invents a label.

A few hundred files here, always the same ones; `python scripts/fuzz_annotations.py 10000` draws as many new ones.
"""

import os
import shutil
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from lookalikes import drawing, encoded, micro, stills
from PIL import Image

from loupe.data.checking import check_set
from loupe.data.decoding import decode
from loupe.data.importing import import_set
from loupe.data.manifest import STILL_CLASSES
from loupe.data.sources import affectnet, affwild2, casia_webface, casme2, casme3, celeba, fer2013, imdb_wiki, megc2019, rafdb, samm
from loupe.data.sources import table as own_faces
from loupe.data.sources.listing import Dropped
from loupe.data.sources.micro import CLASSES, clip_rows
from loupe.data.sources.pictures import BESIDE, load_picture
from loupe.data.sources.recordio import read_record
from loupe.data.sources.registry import SOURCES
from loupe.data.sources.sheets import csv_table, excel_sheets, whole
from loupe.data.video import FrameReader, probe
from loupe.errors import LoupeError

DRAWN = int(os.environ.get("LOUPE_FUZZ_EXAMPLES", "0"))  # by each test
FAST = settings(
    max_examples=DRAWN or 20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=not DRAWN,
    database=None,
)
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


def mutated(lines: list[str]) -> st.SearchStrategy[list[str]]:
    """A text file with a few lines cut, doubled, replaced or with characters put in."""
    change = st.tuples(
        st.integers(0, len(lines) - 1),
        st.sampled_from(["drop", "double", "cut", "insert", "replace"]),
        st.text(max_size=6),
        st.integers(0, 30),
    )

    def apply(changes: list[tuple[int, str, str, int]]) -> list[str]:
        rows = list(lines)
        for at, how, text, place in changes:
            if not rows:
                break
            at %= len(rows)
            if how == "drop":
                del rows[at]
            elif how == "double":
                rows.insert(at, rows[at])
            else:
                rows[at] = {"cut": rows[at][:place], "insert": rows[at][:place] + text + rows[at][place:], "replace": text}[how]
        return [row for line in rows for row in (line.splitlines() or [""])]

    return st.lists(change, min_size=1, max_size=4).map(apply)


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


# How a file comes to harm: bytes put in its place, cut off, a run of zeros (a hole in a download), or another file's content.
HARM = st.one_of(
    st.tuples(st.just("bytes"), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8)),
    st.tuples(st.just("cut"), st.integers(0, 10**6)),
    st.tuples(st.just("hole"), st.tuples(st.integers(0, 10**6), st.integers(1, 600))),
    st.tuples(st.just("page"), st.just(None)),
)


def harmed(data: bytes, harm: tuple[str, object]) -> bytes:
    how, where = harm
    if not data or how == "page":
        return b"<!DOCTYPE html><html>404 Not Found</html>"  # what a download tool keeps where the file was not
    if how == "cut":
        return data[: where % len(data)]
    changed = bytearray(data)
    if how == "bytes":
        for place, value in where:
            changed[place % len(data)] = value
    else:
        place = where[0] % len(data)
        changed[place : place + where[1]] = b"\0" * len(changed[place : place + where[1]])
    return bytes(changed)


@pytest.mark.parametrize("form", ["jpg", "png", "bmp", "tif", "webp"])
@given(harm=HARM)
@FAST
def test_picture_bytes(form, harm, tmp_path):
    path = tmp_path / f"face.{form}"
    drawing.face(3, 24).save(path)
    path.write_bytes(harmed(path.read_bytes(), harm))
    try:
        _, pixels = load_picture(tmp_path, path.name)
    except LoupeError as error:
        assert path.name in str(error) and "\n" not in str(error)
        return
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


def as_decoded(data: bytes, clean: np.ndarray, turns: set[int]) -> bool:
    """Whether the picture is refused in one sentence, or is the clean one, turned in one of these ways."""
    try:
        pixels = decode(data, "face")
    except LoupeError as error:
        assert str(error).startswith("face ") and "\n" not in str(error) and " at 0x" not in str(error)
        return True
    return any(np.array_equal(pixels, encoded.TURNS[turn](clean)) for turn in turns)


STORED = np.asarray(drawing.face(3, 24))[:, :18]
# Anything that a TIFF directory may hold: numbers, types and counts that exist and that do not. 274 says how the picture is turned.
TAG = st.tuples(
    st.one_of(st.integers(0, 65535), st.sampled_from([256, 282, 283, 305, 306, 315, 34665, 34853, 37386, 37500, 37510, 40965, 41492])),
    st.integers(0, 20),
    st.sampled_from([0, 1, 1, 1, 2, 9, 65535, 2**32 - 1]),
    st.binary(max_size=24),
)
OTHER_TAGS = st.lists(TAG.filter(lambda tag: tag[0] != 274), max_size=6)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@given(turn=st.sampled_from([*encoded.TURNS]), others=OTHER_TAGS, harm=st.none() | HARM)
@FAST
def test_exif(form, turn, others, harm):
    """Whatever else the EXIF says, a picture is turned as it says; where its bytes are damaged, it is turned somehow, never drawn otherwise."""
    block = encoded.exif([encoded.orientation(turn), *others])
    if harm:
        block = block[:6] + harmed(block[6:], harm)
    buffer, clean = BytesIO(), BytesIO()
    Image.fromarray(STORED).save(buffer, form, exif=block)
    Image.fromarray(STORED).save(clean, form)
    assert as_decoded(buffer.getvalue(), decode(clean.getvalue(), "clean"), {*encoded.TURNS} if harm else {turn})


CHUNK = st.tuples(
    st.sampled_from([b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"hIST", b"tRNS", b"pHYs", b"tIME", b"tEXt", b"zTXt", b"iTXt", b"acTL"]
                    + [b"fcTL", b"fdAT", b"eXIf", b"PLTE", b"caBX", b"abCd", b"ABCD"]),
    st.binary(max_size=40) | st.sampled_from([b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation>1</tiff:Orientation>", b"Raw profile type exif\0\0" + zlib.compress(b"x")]),
    st.sampled_from([None, None, None, 0]),
)  # fmt: skip


@pytest.mark.parametrize("bits", [8, 16])
@given(chunks=st.lists(st.tuples(st.integers(0, 3), CHUNK), min_size=1, max_size=4), turn=st.sampled_from([*encoded.TURNS]))
@FAST
def test_png_chunks(bits, chunks, turn):
    """Chunks that are not the picture, right or wrong, anywhere between those that are, change no pixel of it."""
    clean = encoded.png_chunks(STORED.astype(np.uint16) * 257 if bits == 16 else STORED)
    parts = [clean[0], encoded.chunk(b"eXIf", encoded.exif([encoded.orientation(turn)])[6:]), *clean[1:]]
    for place, (kind, content, check) in chunks:
        parts.insert(place, encoded.chunk(kind, content, check))
    turns = {*encoded.TURNS} if any(kind in (b"eXIf", b"iTXt", b"zTXt", b"tEXt") for _, (kind, _, _) in chunks) else {turn}
    assert as_decoded(b"\x89PNG\r\n\x1a\n" + b"".join(parts), STORED, turns)


SHORT = lambda number, *values: (number, 3, len(values), struct.pack(f"<{len(values)}H", *values))


@given(
    top=st.sampled_from([255, 1023, 4095, 16383, 65535]),
    said=st.sampled_from([None, 255, 1000, 4095, 65535]),
    inverted=st.booleans(),
    turn=st.sampled_from([*encoded.TURNS]),
    others=st.lists(
        TAG.filter(lambda tag: tag[0] not in (*range(254, 285), 290, 291, 317, 320, 322, 323, 324, 325, 330, 338, 339, 340, 341, 347)),
        max_size=4,
    ),
)
@FAST
def test_tiff_tags_of_16_bits(top, said, inverted, turn, others):
    """Grey values of 16 bits against the definition: a share of the range that is said, else of the type's, of which a quarter at least is used."""
    values = np.random.default_rng(top).integers(0, top + 1, (5, 7))
    values[0, 0] = top
    tags = [SHORT(258, 16), SHORT(262, 0 if inverted else 1), encoded.orientation(turn), *([SHORT(281, said)] if said else []), *others]
    white = 65535 if said is None else 2 ** int(said).bit_length() - 1
    try:
        pixels = decode(encoded.tiff(values.astype("<u2").tobytes(), 7, 5, tags), "face")
    except LoupeError as error:
        assert str(error).startswith("face ") and "\n" not in str(error)
        assert others or top > white or (said is None and top < 16384)
        return
    assert top <= white and (said or top >= 16384)
    expected = [[round(value / white * 255) for value in row] for row in values.tolist()]
    grey = encoded.TURNS[turn](np.array(expected))
    assert (np.abs(pixels.astype(int) - (255 - grey if inverted else grey)[..., None]) <= 1).all()


@given(tags=OTHER_TAGS, harm=st.none() | HARM)
@FAST
def test_tiff_tags_of_8_bits(tags, harm):
    """Any tags in the directory of the picture itself: the decoder's own reading of it, or none."""
    plain = [SHORT(258, 8, 8, 8), SHORT(262, 2), SHORT(277, 3)]
    data = encoded.tiff(STORED.tobytes(), 18, 24, [*plain, *tags])
    data = harmed(data, harm) if harm else data
    try:
        with Image.open(BytesIO(data)) as picture:
            clean = np.asarray(picture.convert("RGB"))
            deep = picture.mode[0] in "IF" or any(bits > 8 for bits in np.ravel(picture.tag_v2.get(258, 8)))
    except Exception:
        deep, clean = False, STORED
    assert deep or as_decoded(data, clean, {1})


@given(harm=HARM, number=st.sampled_from(["3", 0.25, -2.0]))
@example(harm=("bytes", [(42, 123)]), number="3")  # numpy reads the header as Python, and its tokenizer raises an error of its own
@FAST
def test_number_in_an_npy_file(harm, number, tmp_path):
    path = tmp_path / "0_exp.npy"
    np.save(path, np.array(number))
    path.write_bytes(harmed(path.read_bytes(), harm))
    value = affectnet.number_in(path)
    assert value is None or np.isfinite(value)


@given(harm=HARM)
@example(harm=("hole", (377, 8)))  # SciPy 1.17's reader does not raise here: it dies
@settings(FAST, max_examples=DRAWN or 3)  # each is read by a process of its own
def test_matlab_bytes(harm, tmp_path):
    path = tmp_path / "imdb_crop" / "imdb.mat"
    if not (tmp_path / "clean.mat").exists():
        stills.imdb_wiki(tmp_path)
        shutil.copy(path, tmp_path / "clean.mat")
    path.write_bytes(harmed((tmp_path / "clean.mat").read_bytes(), harm))
    dropped = Dropped()
    try:
        columns = imdb_wiki.load(path, "imdb")
        table = imdb_wiki.parse(columns, "imdb", "imdb_crop", {"00/imdb0_1980-01-01_2010.jpg"}, dropped)
    except LoupeError as error:
        assert "imdb.mat" in str(error) and "\n" not in str(error)
        return
    assert len(table) + len(dropped.rows) == len(columns["full_path"])


@pytest.mark.parametrize("part", ["all", "container"])
@given(harm=HARM)
@FAST
def test_video_bytes(part, harm, tmp_path):
    path, clean = tmp_path / "film.mp4", tmp_path / "clean.mp4"
    if not clean.exists():
        drawing.film(clean)
    data = clean.read_bytes()
    start = data.index(b"moov") if part == "container" else 0  # its times, sizes, matrix and names lie behind the frames
    path.write_bytes(data[:start] + harmed(data[start:], harm))
    try:
        facts = probe(path)
        last = FrameReader()(path, len(facts.times) - 1)
    except LoupeError as error:
        assert "film.mp4" in str(error) and "\n" not in str(error)
        return
    assert facts.times[0] == 0 and (np.diff(facts.times) > 0).all() and last.ndim == 3


DOWNLOADS = {
    "rafdb": stills.rafdb,
    "affwild2": stills.affwild2,
    "affectnet": stills.affectnet_new,
    "celeba": stills.celeba,
    "imdb-wiki": stills.imdb_wiki,
    "fer2013": stills.fer2013,
    "ferplus": stills.fer2013,
    "casia-webface": stills.casia_records,
    "csv": drawing.own_clips,
}
ENTRIES_TOO = {"folder": drawing.class_folders, "smic-nir": drawing.smic_clips}


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    root = tmp_path_factory.mktemp("downloads")
    for name, make in (DOWNLOADS | ENTRIES_TOO).items():
        make(root / name)
    return root


@given(name=st.sampled_from([*DOWNLOADS]), which=st.integers(0, 10**6), harm=st.one_of(HARM, st.just(("lost", None))), skip=st.booleans())
@settings(FAST, max_examples=DRAWN or 12)
def test_a_download_with_one_file_harmed_or_lost(name, which, harm, skip, downloads, tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    for folder in (raw, out):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(downloads / name, raw, copy_function=os.link)
    files = sorted(path for path in raw.rglob("*") if path.is_file())
    # Annotations are few beside pictures: every second time one of them.
    lists = [path for path in files if path.suffix not in (".jpg", ".npy")] or files
    victim = (lists if which % 2 else files)[which // 2 % len(lists if which % 2 else files)]
    data = victim.read_bytes()
    victim.unlink()  # the others are links to the clean download
    if harm[0] != "lost":
        victim.write_bytes(harmed(data, harm))
    try:
        report = import_set(name, raw, out, size=8, workers=1, partial=True, skip_damaged=skip)
    except LoupeError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
        return
    dropped = pd.read_csv(out / "dropped.csv")
    kept = ~dropped["reason"].astype(str).str.endswith("(its clip is kept)") & ~dropped["reason"].astype(str).str.startswith(BESIDE)
    assert report.found == report.used + int(kept.sum()) and report.rows >= report.used
    assert check_set(out, workers=1) == report
    assert_stored_as_decoded(raw, out)


def assert_stored_as_decoded(raw, out):
    """Each stored square against the picture file itself, opened and cut in the plainest way."""
    squares, table = np.load(out / "images.npy"), pd.read_parquet(out / "manifest.parquet")
    for square, path in zip(squares, table["path"], strict=True):
        if "#" in path:  # no file of its own
            pixels = Image.fromarray(load_picture(raw, path)[1])
        else:
            with Image.open(raw / path) as picture:
                pixels = picture.convert("RGB")
        side = min(pixels.size)
        left, top = (pixels.width - side) / 2, (pixels.height - side) / 2
        box = (left, top, left + side, top + side)
        expected = np.asarray(pixels.resize(square.shape[:2], Image.Resampling.LANCZOS, box=box, reducing_gap=3.0))
        np.testing.assert_array_equal(square, expected)


# What may come to lie in a folder of a download; %s is the stem of a file that lies there. Each is no new class and no new person.
ENTRY = st.tuples(
    st.integers(0, 10**6),
    st.sampled_from(["picture", "text", "folder", "dead link", "circle", "up", "pipe"]),
    st.sampled_from(["._%s", ".%s", "%s (1)", "%s - Copy", "%s copy 2", "%s~", "%s", "Thumbs", "\udcfc%s", "%s\n", "é%s", "e\u0301%s", " %s", "%s#1", "x" * 100]),
    st.sampled_from([".jpg", ".JPG", ".heic", ".gif", ".bmp", ".mp4", ".txt", ".csv", ".xlsx", ""]),
)  # fmt: skip


def put(root: Path, where: int, kind: str, stem: str, ending: str) -> None:
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())]
    folder = folders[where % len(folders)]
    files = sorted(path.stem[:100] for path in folder.iterdir() if not path.name.startswith(".")) or ["x"]
    path = folder / (stem.replace("%s", files[where // len(folders) % len(files)]) + ending)
    if os.path.lexists(path):
        return
    if kind == "picture":
        path.write_bytes(drawing.encoded(where % 97))
    elif kind == "text":
        path.write_text("a,b\n1,2\n")
    elif kind == "folder":
        (path / "deeper").mkdir(parents=True)  # directly in it the picture would be one of a class of this name
        (path / "deeper" / "1.jpg").write_bytes(drawing.encoded(1))
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"dead link": "nowhere", "circle": path.name, "up": ".."}[kind])


@given(name=st.sampled_from([*DOWNLOADS, *ENTRIES_TOO]), entries=st.lists(ENTRY, min_size=1, max_size=5))
@settings(FAST, max_examples=DRAWN or 25, phases=[Phase.explicit, Phase.generate])  # a minute for each step of a shrunken example
def test_a_download_with_odd_directory_entries(name, entries, downloads, tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    for folder in (raw, out):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(downloads / name, raw, copy_function=os.link)
    clean = SOURCES[name].read(raw).table.set_index("path")
    for entry in entries:
        put(raw, *entry)
    try:
        report = import_set(name, raw, out, size=8, workers=1, partial=True)
    except LoupeError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
        return
    table = pd.read_parquet(out / "manifest.parquet").set_index("path")
    shared = table.index.intersection(clean.index)
    facts = ["subject", "label", "label_name", "split", "clip", "frame", "onset", "offset"]
    pd.testing.assert_frame_equal(table.loc[shared, facts], clean.loc[shared, facts])
    assert len(shared) == len(clean) and report.rows == len(table)
    if name not in ("folder", "casia-webface"):  # a further picture in a class folder is one of the class
        assert len(table) == len(clean)
    assert set(table["label_name"]) <= set(clean["label_name"])
    assert_stored_as_decoded(raw, out)


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
