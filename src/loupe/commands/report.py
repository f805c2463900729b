"""`loupe page`: what is read after a run."""

from __future__ import annotations

import sys

from loupe.config import find_root


def page() -> None:
    """Build reports/index.html from the finished stages."""
    # As in src/run_notebook.py: 35 parsers that no notebook needs, built on import (2.8 s).
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    from loupe.reporting import provenance
    from loupe.reporting.page import build_page

    root = find_root()
    print(build_page(root))
    for sentence in provenance.changed(root):
        print(sentence, file=sys.stderr)
