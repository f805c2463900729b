"""The page: whole, self-contained, honest about what is missing."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from loupe.commands.export import export
from loupe.commands.report import page
from loupe.errors import LoupeError
from loupe.reporting import provenance, tables
from loupe.reporting.drawing import IMAGE_FORMATS, Drawing, blank, save
from loupe.reporting.images import embed
from loupe.reporting.notebooks import _with_pictures, mathml
from loupe.reporting.page import LIMIT, STAGES, build_page

BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
VOID = {"meta", "link", "img", "br", "hr", "input", "col", "wbr", "source"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects ids, links, pictures and text."""

    def __init__(self, text: str):
        super().__init__()
        self.stack, self.ids, self.links, self.resources, self.pictures, self.headings, self.words = [], [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.stack == [], f"never closed: {self.stack}"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag not in VOID:
            self.stack.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        self.resources += [found[name] for name in ("src", "srcset", "data", "poster") if name in found]
        if tag == "link":
            self.resources.append(found["href"])
        if tag == "img":
            self.pictures.append(found)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-3:]} at {self.getpos()}"
        self.stack.pop()

    def handle_data(self, data):
        if "style" not in self.stack:
            self.words.append(data)


def _checkout(root: Path, scale: str = "laptop") -> Path:
    (root / "conf" / "scale").mkdir(parents=True)
    (root / "conf" / "study.yaml").write_text(f"scale: {scale}\ndata: generated\nraw: none\n")
    (root / "conf" / "scale" / f"{scale}.yaml").write_text("seeds: [0, 1, 2]\n")
    return root


def _drawing(caption: str, formats=("png", "svg", "pdf")) -> Drawing:
    figure = blank(2, 1)
    figure.subplots().plot([0, 1])
    return Drawing(figure, caption, f"Alternative text of {caption}", formats)


def _notebook(path: Path, *cells) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), path)


@pytest.fixture(scope="module")
def png() -> bytes:
    return base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


@pytest.fixture
def study(tmp_path, claims, png):
    """A made-up study: claims, two stages, a notebook, a log."""
    root = _checkout(tmp_path)
    reports = root / "reports"
    save(_drawing("Curves & <bands>."), reports / "figures" / "low-label", "curves", command="loupe figure low-label/curves")
    save(_drawing("People and classes.", IMAGE_FORMATS), reports / "figures" / "data", "people")
    tables.write(
        pd.DataFrame({"arm": ["mae"], "macro_f1_mean": [0.5], "macro_f1_sd": [0.125]}),
        reports / "tables" / "low-label",
        "arms",
        "Few labels.",
    )
    claims.to_csv(reports / "claims.csv", index=False)
    shown = nbformat.v4.new_output(
        "display_data", data={"image/png": base64.b64encode(png).decode()}, metadata={"image/png": {"alt": "A face."}}
    )
    silent = nbformat.v4.new_output("display_data", data={"image/png": base64.b64encode(png).decode()})
    table = nbformat.v4.new_output("execute_result", data={"text/html": "<table><tr><th></th><td>1</td></tr></table>"}, execution_count=1)
    _notebook(
        reports / "notebooks" / "02-mae-face.ipynb",
        nbformat.v4.new_markdown_cell("# 02 · Rebuild\n\nMask $x_i$ and\n\n$$\\frac{1}{|M|} \\sum_{i \\in M} a_i$$\n\nPrices: \\$5."),
        nbformat.v4.new_code_cell("print('<b>')", outputs=[shown, silent, table], execution_count=1),
    )
    (root / "data" / "logs").mkdir(parents=True)
    entries = [
        {"stage": stage, "scale": "laptop", "seconds": seconds, "peak_mb": 700, "device": "cpu", "finished": "2026-01-01T10:00:00+0000"}
        for stage, seconds in (("data", 60), ("low-label", 120))
    ]
    (root / "data" / "logs" / "stages.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    provenance.note(root, "low-label", "f" * 40, False)
    return root


def _read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_is_whole_and_needs_no_network(study):
    path = build_page(study)
    assert path == study / "reports" / "index.html"
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    assert len(page.ids) == len(set(page.ids))
    assert page.resources and all(resource.startswith("data:") for resource in page.resources)
    assert "<script" not in source and "@import" not in source and not re.search(r"url\(\s*['\"]?http", source)
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids, link
        else:
            assert not link.startswith(("http", "/", "file")) and (path.parent / link).is_file(), link
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(below - above <= 1 for above, below in zip(page.headings, page.headings[1:], strict=False))
    assert len(source.encode()) < LIMIT


def test_every_picture_carries_its_alternative_text_caption_command_and_commit(study):
    page = _read(build_page(study))
    page.pictures = page.pictures[1:]  # the first is the effect plot
    assert [picture["alt"] for picture in page.pictures] == [
        "Alternative text of Curves & <bands>.",
        "Alternative text of People and classes.",
    ]
    assert page.pictures[0]["src"].startswith("data:image/svg+xml") and page.pictures[1]["src"].startswith("data:image/png")
    assert "Curves & <bands>. PNG · SVG · PDF Made by loupe figure low-label/curves · stage low-label · commit fffffffff" in page.text
    assert "stage data · commit unknown (no git history)" in page.text
    assert "Few labels. CSV · MD · TEX arm macro-F1 MAE, single view 0.500 ± 0.125 Made by dvc repro low-label" in page.text


def test_results_that_are_not_those_of_the_noted_run_name_the_commit_that_holds_them(study):
    provenance.note(study, "low-label", "e" * 40, True)
    assert "stage low-label · commit eeeeeeeee with local changes" in _read(build_page(study)).text
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "-c", "core.hooksPath="]
    for words in (["init", "-q"], ["add", "reports/figures", "reports/tables", "conf"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], cwd=study, check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], cwd=study, check=True, capture_output=True, text=True).stdout[:9]
    text = _read(build_page(study)).text
    assert "stage low-label · commit eeeeeeeee with local changes" in text  # committed since, and still what that run left
    assert f"stage data · commit {head}, the last that changed these files (no run here noted its own)" in text
    save(_drawing("Fetched."), study / "reports" / "figures" / "low-label", "curves")
    text = _read(build_page(study)).text
    assert f"stage low-label · commit not noted, and these files are not committed; checkout at {head}" in text
    assert text.count("stage low-label · commit eeeeeeeee with local changes") == 1  # the table is still that of the run


def test_the_provenance_of_a_stage_names_commit_device_and_whose_memory(study):
    text = _read(build_page(study)).text
    assert "Peak memory of the notebook's own process, MB" in text
    assert "low-label laptop cpu fffffffff 2.0 700" in text and "data laptop cpu – 1.0 700" in text


def test_the_answer_counts_and_lists_the_claims_and_draws_their_effects(study):
    page = _read(build_page(study))
    assert (
        "Of 3 claims put to the test on generated faces, 1 is supported, 1 not supported and 1 inconclusive; 1 more are on record"
        in page.text
    )
    assert page.text.index("Of 3 claims") < page.text.index("Can it rebuild")
    assert "PoI adds <something> & more." in page.text
    for words in (
        "✓ supported",
        "✗ not supported",
        "? inconclusive",
        "+0.150 [+0.110, +0.190]",
        "< .001",
        "effects from 0.061 on can be found",
    ):
        assert words in page.text, words
    assert "figure-effects" in page.ids and page.pictures[0]["alt"].startswith("Effects of the claims: Pre-training helps.: +0.150")
    save(_drawing("Effects, drawn by the stage."), study / "reports" / "figures" / "claims", "effects-emotic-mae")
    again = _read(build_page(study))
    assert "figure-effects" not in again.ids and "figure-claims-effects-emotic-mae" in again.ids
    assert again.text.index("Effects, drawn by the stage.") < again.text.index("Can it rebuild")


def test_the_data_card_is_folded_into_the_page_below_its_headings(study, monkeypatch):
    assert "Data card" not in _read(build_page(study)).text  # no prepared faces here
    card = "# Data card: generated faces\n\n| set | images |\n|---|---|\n| stills | 6 |\n\n## Known limits\n\nAdults <only>.\n"
    monkeypatch.setattr("loupe.reporting.card.prepared_card", lambda folder: card if folder == study / "data" / "prepared" else "")
    page = _read(build_page(study))
    assert "Data card of the generated faces Data card: generated faces set images stills 6 Known limits Adults <only>." in page.text
    assert all(below - above <= 1 for above, below in zip(page.headings, page.headings[1:], strict=False))
    assert 'aria-label="Table 1 of the data card"' in (study / "reports" / "index.html").read_text(encoding="utf-8")


def test_a_verdict_changed_by_hand_is_told_on_the_page_and_at_the_terminal(study, monkeypatch, capsys):
    path = study / "reports" / "claims.csv"
    noted = hashlib.md5(path.read_bytes()).hexdigest()
    (study / "dvc.lock").write_text(f"stages: {{claims: {{outs: [{{path: reports/claims.csv, md5: {noted}}}]}}}}\n")
    (study / "dvc.yaml").touch()
    monkeypatch.chdir(study)
    told = "reports/claims.csv is not what stage claims wrote"
    for edited in (False, True):
        if edited:
            path.write_text(path.read_text().replace("not supported", "supported"))
        page()
        export(study / "out.zip")
        assert (told in _read(study / "reports" / "index.html").text) is edited
        assert capsys.readouterr().err.count(told) == 2 * edited


def test_the_page_of_an_imported_study_does_not_call_its_faces_generated(study):
    assert "Nobody is depicted" in _read(build_page(study)).text
    settings = study / "conf" / "study.yaml"
    settings.write_text(settings.read_text().replace("data: generated", "data: imported"))
    text = _read(build_page(study)).text
    assert "Nobody is depicted" not in text and "Generated faces only" not in text and "were not run; the papers" not in text
    assert "may show real people" in text and "put to the test on imported data sets" in text


def test_a_claim_on_the_floor_says_so_instead_of_what_could_have_been_found(study, claims):
    claims.assign(sesoi=[0.05, -0.05, 0.05, 0.05], floor=[False, False, True, None]).to_csv(study / "reports" / "claims.csv", index=False)
    text = _read(build_page(study)).text
    assert "? inconclusive both arms within 0.05 of guessing (0.125), a floor that decides nothing" in text
    assert "effects from 0.061 on can be found" not in text
    assert "✗ not supported not worse: held against a loss of 0.05" in text


def test_claims_can_be_filtered_by_paper_verdict_and_floor_without_a_script(study, claims):
    claims.assign(floor=[False, False, True, None]).to_csv(study / "reports" / "claims.csv", index=False)
    source = build_page(study).read_text(encoding="utf-8")
    for part, rows in (("yes", 1), ("no", 1), ("open", 1), ("floor", 1), ("emotic-mae", 2), ("micron-bert", 1)):
        assert source.count(f'type="checkbox" id="show-{part}" checked') == 1
        hidden, whole = (part, "<div(.*?)</table>") if "-" in part else (f"{part}-row", "<tr id(.*?)</tr>")
        assert f"section:has(#show-{part}:not(:checked)) .{hidden}" in source
        found = re.findall(whole.replace("(", f'[^>]*class="(?:[^"]* )?{hidden}[ "](', 1), source, re.DOTALL)
        assert "".join(found).count('class="chip') == rows, part


def test_documents_become_pages_that_print(study):
    (study / "reports" / "results.md").write_text(
        "# Results\n\n## The claims\n\n| a | b |\n|---|---:|\n| 1 < 2 | **3** |\n", encoding="utf-8"
    )
    index = _read(build_page(study))
    assert "results.html" in index.links and "The same as documents: Results" in index.text
    source = (study / "reports" / "results.html").read_text(encoding="utf-8")
    page = Page(source)
    assert "<script" not in source and page.headings == [1, 2] and "index.html" in page.links
    assert 'tabindex="0" role="region" aria-label="Table 1 of Results"' in source and "<strong>3</strong>" in source


def test_notebooks_become_pages_without_scripts_and_with_drawn_formulas(study):
    (study / "reports" / "notebooks-html").mkdir()
    (study / "reports" / "notebooks-html" / "09-gone.html").write_text("stale")
    index = _read(build_page(study))
    assert "notebooks-html/02-mae-face.html" in index.links and "02 · Rebuild" in index.text
    assert [path.name for path in (study / "reports" / "notebooks-html").iterdir()] == ["02-mae-face.html"]
    source = (study / "reports" / "notebooks-html" / "02-mae-face.html").read_text(encoding="utf-8")
    page = Page(source)
    assert "<script" not in source and all(resource.startswith("data:") for resource in page.resources)
    assert not re.search(r"""(src|href)=["']https?:""", source)
    assert "<th></th>" not in source and source.count("<math") == 2 and "<mfrac>" in source and "$x_i$" not in source
    assert "Prices: $5." in page.text and "print('<b>')" in re.sub(r"\s*([()])\s*", r"\1", page.text)
    first, second = page.pictures
    assert first["alt"] == "A face." and second["alt"].strip() and "No description" not in second["alt"]


def test_a_drawing_beside_the_notebooks_comes_along_and_an_absent_one_keeps_its_name(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "02-mae.svg").write_text("<svg/>")
    for where in ("", "../../notebooks/"):
        body = _with_pictures(f'<img src="{where}pictures/02-mae.svg" alt="Faces"><img src="pictures/gone.svg" alt="None">', tmp_path)
        assert body == '<img src="data:image/svg+xml;base64,PHN2Zy8+" alt="Faces"><img src="pictures/gone.svg" alt="None">'


def test_a_formula_the_converter_does_not_know_stays_readable():
    assert mathml(r"\begin{") == "<code>\\begin{</code>"
    assert mathml("a < b").startswith("<math") and "<mo>&#x0003C;</mo>" in mathml("a < b")


def test_a_bare_checkout_says_what_is_missing(tmp_path):
    page = _read(build_page(_checkout(tmp_path)))
    assert "No claim has been decided yet: dvc repro claims" in page.text
    for stage in (*STAGES, "data"):
        assert f"dvc repro {stage}" in page.text, stage
    for sentence in (
        "No executed notebook lies in reports/notebooks",
        "No stage has been run on this machine",
        "this copy has no git history",
    ):
        assert sentence in page.text, sentence
    assert not page.pictures


def test_limits_and_use_stand_on_every_page(tmp_path):
    page = _read(build_page(_checkout(tmp_path, "smoke")))
    for words in (
        "Generated faces only",
        "not a felt emotion",
        "at work or in education",
        "EU AI Act",
        "consent",
        "no evidence for or against anything",
    ):
        assert words in page.text, words


def test_damaged_figures_and_tables_cost_a_sentence_not_the_page(study):
    figures, results = study / "reports" / "figures" / "low-label", study / "reports" / "tables" / "low-label"
    (figures / "broken.png").write_bytes(b"no picture")
    (figures / "broken.json").write_text("{")
    (results / "empty.csv").write_text("")
    page = _read(build_page(study))
    assert "This picture could not be put into the page" in page.text
    assert "tables/low-label/empty.csv cannot be read" in page.text
    assert len(page.pictures) == 3


def test_damage_to_what_the_answer_rests_on_is_an_error_that_names_the_file(study, tmp_path_factory, claims):
    (study / "reports" / "notebooks" / "03-x.ipynb").write_text("no notebook")
    with pytest.raises(LoupeError, match="03-x.ipynb cannot be read"):
        build_page(study)
    (study / "reports" / "notebooks" / "03-x.ipynb").unlink()
    claims.assign(verdict="proven").to_csv(study / "reports" / "claims.csv", index=False)
    with pytest.raises(LoupeError, match="claims.csv cannot be read .*proven"):
        build_page(study)
    with pytest.raises(LoupeError, match="not a Loupe checkout"):
        build_page(tmp_path_factory.mktemp("elsewhere"))


def test_a_long_table_is_cut_and_says_so(study):
    pd.DataFrame({"row": range(100), "metric": "sensitivity_at_fpr05"}).to_csv(
        study / "reports" / "tables" / "low-label" / "long.csv", index=False
    )
    page = _read(build_page(study))
    assert "40 more rows in the CSV." in page.text
    assert "sensitivity at 5 % false alarms" in page.text


def _noise(path: Path, width: int, seed: int) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60 if width > 100 else 8, width, 3), dtype=np.uint8)).save(path)
    return path


def test_pictures_are_narrowed_until_they_fit_and_the_largest_left_out_at_last(tmp_path):
    paths = [_noise(tmp_path / f"{width}.png", width, width) for width in (1600, 600, 100)]
    roomy = embed(paths, 10_000_000)
    assert list(roomy) == paths and roomy[paths[0]].startswith("data:image/webp")
    assert base64.b64decode(roomy[paths[2]].split(",")[1]) == paths[2].read_bytes()  # small ones stay as they are
    assert _width(roomy[paths[0]]) == 1400
    limit = sum(map(len, roomy.values())) // 2
    tight = embed(paths, limit)
    assert list(tight) == paths and sum(map(len, tight.values())) <= limit and 450 <= _width(tight[paths[0]]) < 1400
    least = len(roomy[paths[2]]) + 10
    assert list(embed(paths, least)) == [paths[2]]


def _width(uri: str) -> int:
    import io

    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        return image.width


WATCH = """<!DOCTYPE html><title>watch</title>
<iframe src="reports/index.html" width="390" height="900"></iframe>
<iframe src="reports/index.html" width="900" height="900"></iframe>
<iframe src="reports/index.html" width="1400" height="900"></iframe>
<pre id="found"></pre>
<script>
addEventListener("load", () => {
  const look = frame => {
    const page = frame.contentDocument, top = page.documentElement;
    const reached = [...page.querySelectorAll("a[href], summary, [tabindex]")].filter(item => item.tabIndex >= 0);
    const scrolling = [...page.querySelectorAll("*")].filter(item =>
      item.scrollWidth > item.clientWidth + 1 && ["auto", "scroll"].includes(frame.contentWindow.getComputedStyle(item).overflowX));
    return {
      width: frame.clientWidth,
      sideways: top.scrollWidth > top.clientWidth,
      broken: [...page.images].filter(item => !item.complete || !item.naturalWidth).length,
      pictures: page.images.length,
      fetched: frame.contentWindow.performance.getEntriesByType("resource").filter(item => !item.name.startsWith("data:")).length,
      first: reached.length ? reached[0].className : "",
      stuck: scrolling.filter(item => item.tabIndex < 0 && !item.querySelector("a, [tabindex]")).map(item => item.className),
    };
  };
  document.getElementById("found").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(look));
});
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_in_a_browser_the_page_fits_three_widths_and_misses_nothing(study, tmp_path):
    """From file://: nothing is fetched, no picture is broken, the page itself never scrolls sideways, what does can be reached by
    keyboard."""
    build_page(study)
    (study / "watch.html").write_text(WATCH)
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (study / "watch.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "CONSOLE" not in done.stderr
    seen = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL).group(1)))
    assert [frame["width"] for frame in seen] == [390, 900, 1400]
    for frame in seen:
        assert frame["pictures"] == 3 and frame["broken"] == 0 and frame["fetched"] == 0, frame
        assert not frame["sideways"] and frame["stuck"] == [] and frame["first"] == "skip", frame
