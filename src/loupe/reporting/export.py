"""Everything that a paper's supplement holds, in one zip file: the same results give the same bytes."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

from loupe.errors import LoupeError
from loupe.reporting import provenance
from loupe.reporting.card import card_text

_FOLDERS = ("reports/figures", "reports/tables", "conf")
_FILES = ("reports/claims.csv", "dvc.yaml", "dvc.lock", "requirements.lock", "CITATION.cff", "LICENSE", "NOTICE")
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # a zip knows no earlier date, and the files' own would differ between checkouts

_READ_ME = """Results of a Loupe study.

claims.csv      every claim of the two papers, its effect, interval and verdict (rule: notebook 11-claims)
tables/         results by stage, as CSV, Markdown and LaTeX; the .json beside a table holds its caption and the command that makes it
figures/        by stage, as PNG and, for plots, SVG and PDF; the .json beside a figure holds caption, alternative text and command
conf/           every setting; dvc.yaml and dvc.lock: the stages, and the hashes of what they read and wrote
data-card.md    what the faces are, how made, how balanced, what must not be claimed from them (only where faces were generated)
provenance.json commit, versions, machine, device, seeds and minutes a stage
SHA256SUMS      of all other files: `sha256sum -c SHA256SUMS`

Measured on generated faces unless conf/study.yaml says otherwise. An expression is not a felt emotion.
"""


def export(root: Path, out: Path) -> Path:
    """Write figures, tables, claims, settings, hashes and provenance of the checkout at `root` to the zip file `out`; returns it.

    Equal results give equal bytes (order, dates and permissions are fixed), except for `provenance.json` where machine or times differ.

    Raises LoupeError where there is no decided claim to export, or `out` cannot be written.
    """
    if not (root / "reports" / "claims.csv").is_file():
        raise LoupeError("There are no results to export (reports/claims.csv is missing): run `make study` first.")
    paths = [root / name for name in _FILES if (root / name).is_file()]
    paths += [path for folder in _FOLDERS for path in (root / folder).rglob("*") if path.is_file()]
    files = {path.relative_to(root).as_posix().removeprefix("reports/"): path.read_bytes() for path in paths}
    files["provenance.json"] = (json.dumps(provenance.collect(root), indent=1, ensure_ascii=False) + "\n").encode()
    if card := card_text(root):
        files["data-card.md"] = card.encode()
    files["README.txt"] = _READ_ME.encode()
    files["SHA256SUMS"] = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())).encode()
    partial = out.with_suffix(".partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(partial, "w") as archive:
            for name, content in sorted(files.items()):
                entry = zipfile.ZipInfo(f"loupe-results/{name}", _EARLIEST)
                entry.external_attr = 0o644 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, content, compresslevel=9)
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise LoupeError(f"{out} cannot be written ({error.strerror}): name another file with --out.") from error
    return out
