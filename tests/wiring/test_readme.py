"""What README, docs and reports say of the committed results is what `reports/` holds, all of it, and nobody typed it."""

import re
from pathlib import Path

import pandas as pd
import pytest
import results

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted({*results.WHOLE, *(name for name, _ in results.PARTS)})
WRITTEN = re.compile(r"<!-- ([\w-]+): written by scripts/results.py -->\n.*?<!-- end of \1 -->", re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def refusal(root, *options):
    """What the script says as it refuses; empty where all is well."""
    try:
        results.main(list(options), root)
    except SystemExit as stop:
        return stop.code
    return ""


@pytest.fixture
def copy(tmp_path):
    """What the script reads, with files of its own to write."""
    for name in ("README.md", "docs", "scripts", "reports"):
        source = ROOT / name
        for path in [source] if source.is_file() else source.rglob("*"):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".md", ".csv", ".json", ".j2", ".yaml"):
                target.write_bytes(path.read_bytes())
            elif path.suffix == ".png":
                target.touch()  # looked for, not read
    for name in ("conf", "dvc.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_all_pages_show_the_committed_results():
    assert refusal(ROOT, "--check") == ""


def test_a_number_or_verdict_changed_by_hand_is_seen_and_written_again(copy):
    good = {name: (copy / name).read_text() for name in PAGES}
    claim = pd.read_csv(copy / "reports" / "claims.csv").set_index("id").loc["dma-localises"]
    said = f"{claim['effect']:+.3f}".replace("-", "−")
    for name in ("README.md", "docs/ja.md", *results.WHOLE):
        assert said in good[name], name
        (copy / name).write_text(good[name].replace(said, "+0.999"))
    seen = refusal(copy, "--check")
    assert all(name in seen for name in ("README.md", "docs/ja.md", *results.WHOLE)) and "python scripts/results.py" in seen
    assert refusal(copy) == ""
    assert {name: (copy / name).read_text() for name in PAGES} == good


def test_a_changed_study_changes_every_page(copy):
    path = copy / "reports" / "claims.csv"
    table = pd.read_csv(path)
    chosen = table["id"] == "dma-localises"
    table.loc[chosen, ["effect", "low", "high", "verdict", "floor"]] = [0.123456, 0.1, 0.2, "supported", False]
    table.to_csv(path, index=False)
    assert refusal(copy) == ""
    for name in ("README.md", "docs/ja.md", *results.WHOLE):
        assert "+0.123 [+0.100, +0.200]" in (copy / name).read_text(), name


@pytest.mark.parametrize("damage", ["marks", "headline"])
def test_what_is_missing_is_a_sentence(copy, damage):
    if damage == "marks":
        (copy / "README.md").write_text("# Loupe\n")
    else:
        path = copy / "scripts" / "results" / "headlines.yaml"
        path.write_text(path.read_text().replace("dma-localises", "dma-dances"))
    assert ("README.md must hold the lines" if damage == "marks" else "dma-dances, which conf/claims.yaml does not hold") in refusal(copy)


def test_the_first_screen_names_three_findings_a_paper():
    papers = results.collect(ROOT)["papers"]
    assert {name: len(paper["findings"]) for name, paper in papers.items()} == {"emotic-mae": 3, "micron-bert": 3}
    assert all(re.search("[ぁ-ん]", found["ja"]) for paper in papers.values() for found in paper["findings"])


@pytest.mark.parametrize("name", ["README.md", "AGENTS.md", "docs/ja.md", "docs/setup.md", "docs/your-faces.md"])
def test_no_measured_number_is_typed(name):
    """A decimal point outside what the script writes belongs to a version or to an arXiv number."""
    text = WRITTEN.sub("", (ROOT / name).read_text(encoding="utf-8"))
    text = re.sub(r"arxiv\.org/abs/\S+|arXiv \d{4}\.\d{5}|[Pp]ython ?\d\.\d+|==[\d.]+|0\.6 GB", "", text)
    assert not re.findall(r"\d*\.\d+", text)


def test_readme_fits_a_screen_and_a_half():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120 and max(map(len, lines)) <= 110
    found = next(part for part in WRITTEN.finditer("\n".join(lines)) if part[1] == "findings")[0]
    assert len(re.findall(r"^ *[-+*] ", found, re.MULTILINE)) == 6  # a line that wraps before a dash would begin a list


@pytest.mark.parametrize(
    "name",
    ["README.md", "AGENTS.md", "CONTRIBUTING.md", *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md")), *results.WHOLE],
)
def test_every_link_leads_to_a_file(name):
    page = ROOT / name
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_the_two_commands_are_the_makefile_s():
    readme, makefile = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile"))
    for command in ("study", "test", "verify", "lab"):
        assert f"make {command}" in readme and re.search(rf"^{command}:", makefile, re.MULTILINE)
