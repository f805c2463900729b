"""The one frame of the study: where a face lies in its square picture, generated or aligned from a photograph.

The usual five-point template of face recognition puts the eyes .30 of the side apart; at 64 px that leaves 19 px between them, where Aff-Wild2's crops of
112 px have 35: brows and lips move by a pixel or two. This frame is half as close again (eyes .456 apart; the chin is cut), as measured in docs/log.md
on people who stand in no study. It is part of the study set's version, not a setting: faces that meet one network must share it.
"""

from __future__ import annotations

import numpy as np

# Shares of the height at which the middle of the eyes and the middle of the mouth of a neutral frontal face lie; across, both are centred.
EYE_LINE, MOUTH_LINE = 0.265, 0.775
# The same in the usual template, whose widths measure how far an aligner errs and a head drifts: neither changes with the frame.
_TEMPLATE_EYE_LINE, _TEMPLATE_MOUTH_LINE = 0.385, 0.725
CLOSER = (MOUTH_LINE - EYE_LINE) / (_TEMPLATE_MOUTH_LINE - _TEMPLATE_EYE_LINE)


def framed(points: np.ndarray) -> np.ndarray:
    """Points (..., 2), shares of the side in the usual template, to shares of the side in this frame."""
    return (np.asarray(points) - (0.5, _TEMPLATE_EYE_LINE)) * CLOSER + (0.5, EYE_LINE)
