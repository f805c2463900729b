"""The models of the two papers, their baselines, and the loaders of foreign weights. Needs torch and timm alone (baselines: scikit-*)."""

from importlib import import_module

from loupe._compat import ensure_torchvision

ensure_torchvision()  # before anything below imports timm


def __getattr__(name: str) -> object:
    """`loupe.models.load_pretrained`, imported at its first use: no stage of the study reads foreign weights."""
    if name == "load_pretrained":
        return import_module("loupe.models.pretrained").load_pretrained
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
