"""Energy of this machine's processors, where Linux (RAPL) or NVIDIA's driver (NVML) tells it. It is the machine's, not the process's."""

from __future__ import annotations

from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules since it was made: all processor packages, and all NVIDIA GPUs that this process may use. None where neither is readable."""

    def __init__(self, powercap: Path = _POWERCAP):
        self._packages = [
            path for path in sorted(powercap.glob("intel-rapl:*")) if path.name.count(":") == 1 and _number(path / "energy_uj") is not None
        ]
        self._gpus = _gpus()
        self._last = {path: _number(path / "energy_uj") for path in self._packages}
        self._gpu_start = [gpu() for gpu in self._gpus]
        self._joule = 0.0

    def read(self) -> float | None:
        """Joules so far. Call at least every few minutes: the processors' counters wrap around."""
        if not self._packages and not self._gpus:
            return None
        for path in self._packages:
            now, before = _number(path / "energy_uj"), self._last[path]
            if now is None or before is None:
                continue
            wrapped = (_number(path / "max_energy_range_uj") or 0) if now < before else 0
            self._joule += (now - before + wrapped) / 1e6
            self._last[path] = now
        gpus = sum(gpu() - start for gpu, start in zip(self._gpus, self._gpu_start, strict=True)) / 1e3
        return round(self._joule + gpus, 1)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # often readable by root alone
        return None


def _gpus() -> list:
    """One function a GPU that returns its millijoules since the driver was loaded."""
    import torch

    if not torch.cuda.is_initialized():
        return []
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        handles = [
            pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(i).uuid}") for i in range(torch.cuda.device_count())
        ]
        for handle in handles:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except (AttributeError, pynvml.NVMLError):
        return []
    return [lambda handle=handle: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles]
