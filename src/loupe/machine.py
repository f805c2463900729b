"""What the machine calls itself."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def processor_name() -> str:
    """Name of the processor as the system gives it; empty where it gives none."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Name of the device that torch computes on: the GPU's, the processor's, or `mps`."""
    if device.type == "cuda":
        import torch  # a report that names the processor alone does without torch

        return torch.cuda.get_device_name(device)
    return processor_name() if device.type == "cpu" else device.type
