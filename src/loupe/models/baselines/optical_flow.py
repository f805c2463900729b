"""Optical flow between onset and apex (TV-L1, Zach et al. 2007, by scikit-image) and its strain (Liong et al. 2014)."""

from __future__ import annotations

import numpy as np
from skimage.registration import optical_flow_tvl1

from loupe.models.baselines.frames import gray, resample


def flow(onset: np.ndarray, apex: np.ndarray) -> np.ndarray:
    """Motion from onset to apex in px, drawn in the onset frame: uint8 (H, W, 3) twice -> (H, W, 2), [..., 0] = u to the right,
    [..., 1] = v down.
    """
    down, right = optical_flow_tvl1(gray(onset), gray(apex), num_warp=5, num_iter=10, dtype=np.float32)
    return np.stack([right, down], axis=-1)


def strain(motion: np.ndarray) -> np.ndarray:
    """Optical strain magnitude (H, W) of a flow (H, W, 2): sqrt(e_xx^2 + e_yy^2 + 2 e_xy^2), without unit.

    Blind to translation, and to rotation in first order: head drift disappears, stretching skin stays.
    """
    u_y, u_x = np.gradient(motion[..., 0])
    v_y, v_x = np.gradient(motion[..., 1])
    return np.sqrt(u_x**2 + v_y**2 + 0.5 * (u_y + v_x) ** 2)


def without_affine(motion: np.ndarray, rounds: int = 5) -> np.ndarray:
    """The flow less the affine motion that fits most of it: what remains when the rigid head motion is taken out (H, W, 2).

    Least squares on all pixels, then `rounds` times anew with weights that fall with the residual (Cauchy), so that the moving part of
    the face does not pull the fit towards itself.
    """
    height, width = motion.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    design = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    target = motion.reshape(-1, 2).astype(np.float64)
    weight = np.ones(len(target))
    for _ in range(rounds + 1):
        gram = design.T @ (design * weight[:, None])
        affine = np.linalg.solve(gram, design.T @ (target * weight[:, None]))
        residual = target - design @ affine
        length = np.linalg.norm(residual, axis=1)
        weight = 1 / (1 + (length / (1.4826 * np.median(length) + 1e-6)) ** 2)
    return residual.reshape(motion.shape).astype(np.float32)


def flow_fields(onset: np.ndarray, apex: np.ndarray, side: int | None = None) -> np.ndarray:
    """u, v (px of the original frame) and strain of N pairs: uint8 (N, H, W, 3) twice -> (N, side, side, 3) float32; side None = H."""
    fields = []
    for first, second in zip(onset, apex, strict=True):
        motion = flow(first, second)
        field = np.concatenate([motion, strain(motion)[..., None]], axis=-1).astype(np.float32)
        fields.append(field if side is None else resample(field, side))
    return np.asarray(fields, dtype=np.float32)


def features_flow(onset: np.ndarray, apex: np.ndarray, side: int = 16) -> np.ndarray:
    """uint8 (N, H, W, 3) twice -> (N, 3 side^2): u, v and strain on a side x side grid; goes with a linear SVM."""
    return flow_fields(onset, apex, side).reshape(len(onset), -1)
