"""`loupe verify`: is a rerun the committed study?"""

from __future__ import annotations

import typer

from loupe.config import find_root

_SHOWN = 12  # findings of a stage; --all shows every one


def verify(
    against: str = typer.Option("HEAD", help="Git revision, or folder of results, to compare with."),
    exact: bool = typer.Option(False, "--exact", help="Also fail where rows are within seed noise, not identical."),
    everything: bool = typer.Option(False, "--all", help="Show every row that is not identical."),
) -> None:
    """Compare results with the committed ones, row by row; exit code 1 where a row is different."""
    from loupe.reporting.verify import DIFFERENT, IDENTICAL, NOISE
    from loupe.reporting.verify import verify as compare

    reports = compare(find_root(), against)
    for report in reports:
        counts = {status: sum(finding.status == status for finding in report.findings) for status in (NOISE, DIFFERENT)}
        counted = [f"{number} {word}" for word, number in ((IDENTICAL, report.identical), *counts.items()) if number]
        print(f"{report.stage:<20} {report.status:<18} rows: {', '.join(counted) or 'none'}")
        worst = sorted(report.findings, key=lambda finding: finding.status != DIFFERENT)
        shown = worst if everything else worst[:_SHOWN]
        for finding in shown:
            print(f"  {'DIFFERENT' if finding.status == DIFFERENT else 'noise':<9} {finding}")
        if len(worst) > len(shown):
            print(f"  and {len(worst) - len(shown)} more (--all)")
        if report.outputs:
            print(f"  other bytes than in dvc.lock of {against}: {', '.join(report.outputs)}")
    found = {report.status for report in reports}
    if DIFFERENT in found:
        stages = ", ".join(report.stage for report in reports if report.status == DIFFERENT)
        print(f"\nDifferent from {against}: {stages}. The first stage of this list is where to look first.")
    elif NOISE in found:
        print(f"\nNot every byte of {against}, but every number within the noise of its seeds, and every verdict the same.")
    else:
        print(f"\nIdentical to {against}.")
    raise typer.Exit(1 if DIFFERENT in found or (exact and found != {IDENTICAL}) else 0)
