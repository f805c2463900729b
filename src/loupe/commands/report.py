"""`loupe page`: what is read after a run."""

from __future__ import annotations

from loupe.config import find_root


def page() -> None:
    """Build reports/index.html from the finished stages."""
    from loupe.reporting.page import build_page

    print(build_page(find_root()))
