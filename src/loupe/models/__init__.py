"""The models of the two papers, their baselines, and the loaders of foreign weights. Needs torch and timm alone (baselines: scikit-*)."""

from loupe._compat import ensure_torchvision

ensure_torchvision()  # before anything below imports timm
