"""The rasteriser and shader in torch, for CUDA, behind the numba renderer's interface. No part of the study set, nor of its version."""
