"""A part of the settings: what one step reads, and nothing else, so that no other key of `conf/` can make it stale."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, NoReturn, TypeVar

S = TypeVar("S")


class Absent:
    """Stands where a step has not asked for a setting: whatever reads it fails, instead of a result that depends on more than its key
    says."""

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("this setting is not among those that the step asked for: add it where the step is made (`part_of`)")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # what pickle and copy ask every object
            raise AttributeError(name)
        self._refuse()

    __bool__ = __eq__ = __lt__ = __gt__ = __iter__ = __len__ = __int__ = __float__ = __index__ = __getitem__ = __call__ = __str__ = (
        __format__
    ) = _refuse  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


def part_of(settings: S, *keys: str) -> S:
    """`settings` with everything absent but `keys`, dotted names of groups or single settings ("scale.image", "data.seed").

    Raises AttributeError for a name that the settings do not have.
    """
    heads: dict[str, list[str]] = {}
    for key in keys:
        head, _, rest = key.partition(".")
        getattr(settings, head)
        heads.setdefault(head, []).append(rest)
    values: dict[str, Any] = {}
    for spec in fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, spec.name)
        rests = heads.get(spec.name)
        values[spec.name] = Absent() if rests is None else value if "" in rests or not is_dataclass(value) else part_of(value, *rests)
    return replace(settings, **values)  # type: ignore[type-var]
