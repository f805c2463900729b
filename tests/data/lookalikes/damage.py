"""How files come to harm, and how many of them a test draws: `LOUPE_FUZZ_EXAMPLES`, or a few, always the same ones."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

DRAWN = int(os.environ.get("LOUPE_FUZZ_EXAMPLES", "0"))  # by each test
FAST = settings(
    max_examples=DRAWN or 20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=not DRAWN,
    database=None,
)


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
