"""Loupe: a reproducible study workbook about reading faces with few labels."""

import os
import sys

__version__ = "0.1.0"

# Limits of threads, instruction sets and number formats: what a profile may export for other programs, and what changes the last bits of a
# sum. The libraries look once, when they are loaded, so they must not see it; `prepare_torch` speaks up where torch was loaded before this
# package.
SHAPING = (
    *("OMP_THREAD_LIMIT", "OMP_DYNAMIC", "OMP_SCHEDULE", "KMP_ALL_THREADS", "KMP_DEVICE_THREAD_LIMIT", "KMP_TEAMS_THREAD_LIMIT"),
    *("KMP_DYNAMIC_MODE", "MKL_DYNAMIC", "MKL_DOMAIN_NUM_THREADS", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY"),
    *("DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "DNNL_DEFAULT_FPMATH_MODE", "ONEDNN_DEFAULT_FPMATH_MODE", "OPENBLAS_CORETYPE"),
    *("NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "NUMBA_DISABLE_JIT", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"),
    *("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE"),
)
if "torch" not in sys.modules:
    for _name in SHAPING:
        os.environ.pop(_name, None)
os.environ["OPENBLAS_NUM_THREADS"] = (
    "1"  # of numpy and scipy, not of torch: their problems are small here, and a second thread makes them slower
)
