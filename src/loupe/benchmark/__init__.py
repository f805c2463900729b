"""Speed, measured so that a stranger can measure it again: interleaved variants, at least five rounds, median and best."""

from loupe._compat import ensure_torchvision

ensure_torchvision()  # before anything below imports torchvision or timm
