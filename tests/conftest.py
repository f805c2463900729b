"""Shared by all tests: one thread, so that byte-level comparisons do not depend on the machine's core count."""

import os

os.environ.setdefault("NUMBA_NUM_THREADS", "2")

import torch

torch.set_num_threads(1)
