"""The one exception whose message is written for the person at the keyboard."""

from __future__ import annotations

from pathlib import Path


class LoupeError(Exception):
    """Bad input or a state the user can mend. The message is one sentence that names the file or key and the way out."""


def unreadable(path: Path, error: Exception, remedy: str) -> LoupeError:
    """What to say of a file whose reading ended in `error`. `remedy` is for a damaged one; a file that the system does not open is not
    damaged."""
    refused = error if isinstance(error, OSError) and error.errno else None
    try:
        path.open("rb").close()
    except OSError as closed:
        refused = refused or closed
    if refused:
        return LoupeError(f"{path} cannot be opened ({refused.strerror}), which is no damage: mend that and start again.")
    return LoupeError(f"{path} cannot be read ({error}): {remedy}")
