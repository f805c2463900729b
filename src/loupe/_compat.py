"""Let timm import where torchvision's operators are absent.

torchvision's PyPI wheel for Linux is a CUDA build. Under a CPU build of torch its compiled operators do not load, and `import torchvision`
(which timm does unguarded) fails while registering fakes for `torchvision::nms`. Declaring the two schemas is enough to import; calling the
operators still raises, which is right, and Loupe never calls them.
"""

import torch


def ensure_torchvision() -> None:
    """Import torchvision, declaring its two missing operators first where that is what stops the import."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        # Declared only after a failure: a build that has the operators would clash with a second definition.
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
