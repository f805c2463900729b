"""`loupe doctor`: the machine explained."""

from __future__ import annotations

import typer

from loupe.config import find_root


def doctor(
    json: bool = typer.Option(False, "--json", help="Print the report as JSON, for a program or a bug report."),
    save_timings: bool = typer.Option(False, "--save-timings", help="Instead, write docs/timings.csv from this checkout's log of stages."),
    note: str = typer.Option("", help="With --save-timings: under which conditions, e.g. that other work ran beside."),
) -> None:
    """Explain this machine: what is installed, what is missing, which scale fits and how long it takes. Exit code 1 where something must be
    mended."""
    from loupe import doctor as physician

    root = find_root()
    if save_timings:
        print(physician.save_timings(root, note))
        return
    checks, fits = physician.examine(root), physician.scales(root)
    if json:
        print(physician.as_json(checks, fits))
    else:
        for check in checks:
            print(f"{check.state:<5} {check.topic:<10} {check.text}")
        print("\nscales (make study SCALE=...)")
        for fit in fits:
            print(f"{'ok' if fit.fits else 'no':<5} {fit.scale:<10} {fit.text}; {fit.minutes}")
    raise typer.Exit(1 if any(check.state == physician.BAD for check in checks) else 0)
