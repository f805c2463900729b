"""Facial expressions as FACS action units (Ekman, Friesen & Hager 2002), and how they move the head mesh.

An expression is a vector over AU_NAMES, 0 (absent) .. 1 (full). Paired units are given per side. A linear map turns it into weights of the
52 ARKit face units and a few MakeHuman units; the weights at full strength were measured on renders (feasibility study, section 4).
"""

from __future__ import annotations

import numpy as np

STILL_CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")

# AU -> {unit: weight at full strength}; '*' stands for the side. mouthPress is left out of AU24: it lifts the corners and reads as a smile.
_PAIRED = {
    "AU1": {"browInnerUp": 0.8, "eyebrows-*-inner-up": 0.3},
    "AU2": {"browOuterUp*": 1.5},
    "AU4": {"browDown*": 1.7, "eyebrows-*-down": 0.6},
    "AU5": {"eyeWide*": 1.4},
    "AU6": {"cheekSquint*": 1.0, "eyeSquint*": 0.35},
    "AU7": {"eyeSquint*": 1.0},
    "AU9": {"noseSneer*": 1.7, "nose-*-elevation": 0.7},
    "AU10": {"mouthUpperUp*": 1.3},
    "AU12": {"mouthSmile*": 1.0},
    "AU14": {"mouthDimple*": 1.3},
    "AU15": {"mouthFrown*": 1.7},
    "AU16": {"mouthLowerDown*": 1.3},
    "AU20": {"mouthStretch*": 1.4},
    "AU43": {"eyeBlink*": 1.0},
}
_CENTRAL = {
    "AU17": {"mouthShrugLower": 1.1},
    "AU18": {"mouthPucker": 1.5},
    "AU19": {"tongueOut": 1.0, "jawOpen": 0.25},
    "AU22": {"mouthFunnel": 0.9},
    "AU24": {"mouthRollUpper": 0.5, "mouthRollLower": 0.5},
    "AU25": {"mouthLowerDownLeft": 0.35, "mouthLowerDownRight": 0.35, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3},
    "AU26": {"jawOpen": 0.95},
    "AU34": {"cheekPuff": 1.2},
}
AU_NAMES = tuple(f"{name}{side}" for name in _PAIRED for side in "LR") + tuple(_CENTRAL)
_INDEX = {name: i for i, name in enumerate(AU_NAMES)}

# Prototypes (several a class) after EMFACS and the prototype tables of Ekman & Friesen: AU -> (low, high) of full strength.
PROTOTYPES: dict[str, tuple[dict[str, tuple[float, float]], ...]] = {
    "Neutral": ({},),
    "Anger": (
        {
            "AU4": (0.75, 1),
            "AU7": (0.4, 0.9),
            "AU5": (0.1, 0.35),
            "AU9": (0.1, 0.3),
            "AU24": (0.4, 1),
            "AU15": (0.2, 0.5),
            "AU17": (0.3, 0.8),
        },
        {
            "AU4": (0.75, 1),
            "AU7": (0.4, 0.9),
            "AU9": (0.15, 0.35),
            "AU10": (0.45, 0.85),
            "AU16": (0.6, 1),
            "AU20": (0.15, 0.4),
            "AU26": (0.05, 0.3),
        },
        {"AU4": (0.7, 1), "AU5": (0.3, 0.7), "AU7": (0.3, 0.7), "AU24": (0.5, 1)},
        {"AU4": (0.7, 1), "AU5": (0.2, 0.6), "AU22": (0.2, 0.5), "AU25": (0.4, 0.9), "AU26": (0.1, 0.35)},
    ),
    "Disgust": (
        {"AU9": (0.7, 1), "AU10": (0.5, 1), "AU4": (0.2, 0.5), "AU7": (0.4, 0.9), "AU6": (0.2, 0.7), "AU17": (0.2, 0.7)},
        {"AU9": (0.6, 1), "AU10": (0.3, 0.8), "AU15": (0.2, 0.6), "AU17": (0.4, 0.9), "AU4": (0.2, 0.5)},
        {"AU10": (0.7, 1), "AU9": (0.3, 0.6), "AU25": (0.4, 1), "AU7": (0.3, 0.8)},
        {"AU9": (0.7, 1), "AU10": (0.5, 0.9), "AU19": (0.4, 0.8), "AU4": (0.2, 0.5), "AU7": (0.4, 0.8)},
    ),
    "Fear": (
        {
            "AU1": (0.75, 1),
            "AU2": (0.35, 0.65),
            "AU4": (0.15, 0.35),
            "AU5": (0.7, 1),
            "AU20": (0.6, 1),
            "AU25": (0.3, 0.8),
            "AU26": (0.1, 0.35),
        },
        {"AU1": (0.75, 1), "AU4": (0.2, 0.4), "AU5": (0.7, 1), "AU20": (0.5, 1)},
        {"AU1": (0.6, 1), "AU2": (0.3, 0.6), "AU5": (0.8, 1), "AU16": (0.3, 0.7), "AU20": (0.4, 0.8), "AU26": (0.2, 0.4)},
    ),
    "Happiness": (
        {"AU12": (0.65, 1), "AU6": (0.5, 1), "AU25": (0.5, 1), "AU10": (0.15, 0.5), "AU26": (0, 0.3)},
        {"AU12": (0.65, 1), "AU6": (0.4, 1)},
        {"AU12": (0.55, 0.9), "AU6": (0.1, 0.5), "AU14": (0, 0.25), "AU25": (0, 0.6)},
        {"AU12": (0.75, 1), "AU6": (0.6, 1), "AU25": (0.6, 1), "AU26": (0.3, 0.55)},
    ),
    "Sadness": (
        {"AU1": (0.7, 1), "AU4": (0.15, 0.35), "AU15": (0.65, 1), "AU17": (0.5, 1), "AU43": (0.1, 0.3)},
        {"AU1": (0.6, 1), "AU4": (0.2, 0.4), "AU15": (0.5, 1), "AU43": (0.15, 0.35)},
        {"AU1": (0.6, 1), "AU6": (0.2, 0.5), "AU15": (0.5, 0.9), "AU17": (0.4, 0.8), "AU7": (0.1, 0.4)},
    ),
    "Surprise": (
        {"AU1": (0.7, 1), "AU2": (0.7, 1), "AU5": (0.5, 0.85), "AU26": (0.4, 1)},
        {"AU1": (0.7, 1), "AU2": (0.7, 1), "AU5": (0.4, 0.8), "AU26": (0.3, 0.7), "AU22": (0.1, 0.45)},
        {"AU1": (0.6, 1), "AU2": (0.7, 1), "AU5": (0.4, 0.8), "AU25": (0.2, 0.6)},
    ),
}
# Class 'Other': single movements; a capital S marks the side that is drawn, O the opposite one.
_OTHER: dict[str, dict[str, tuple[float, float]]] = {
    "contempt": {"AU12S": (0.4, 0.7), "AU14S": (0.6, 1), "AU6S": (0.1, 0.5)},
    "wink": {"AU43S": (0.95, 1), "AU6S": (0.4, 0.9), "AU12S": (0.2, 0.6)},
    "pucker": {"AU18": (0.7, 1), "AU22": (0.2, 0.5)},
    "puff": {"AU34": (0.6, 1), "AU18": (0.2, 0.4)},
    "speech": {"AU26": (0.1, 0.4), "AU22": (0.3, 1), "AU25": (0, 0.5)},
    "sceptic": {"AU2S": (0.75, 1), "AU4O": (0.4, 0.7), "AU14": (0, 0.4)},
    "sleepy": {"AU43": (0.6, 1)},
}
# Held out: combinations of the FACS investigators' guide that occur in the set `shift` and nowhere else.
SHIFT_PROTOTYPES: dict[str, tuple[dict[str, tuple[float, float]], ...]] = {
    "Anger": (
        {"AU4": (0.75, 1), "AU5": (0.3, 0.7), "AU7": (0.4, 0.8), "AU10": (0.5, 0.9), "AU25": (0.4, 0.8)},
        {"AU4": (0.75, 1), "AU5": (0.2, 0.6), "AU7": (0.4, 0.8), "AU17": (0.5, 1), "AU24": (0.5, 1)},
    ),
    "Disgust": (
        {"AU9": (0.7, 1), "AU16": (0.5, 0.9), "AU25": (0.3, 0.7), "AU26": (0.1, 0.3)},
        {"AU10": (0.7, 1), "AU16": (0.5, 0.9), "AU25": (0.3, 0.7)},
    ),
    "Fear": (
        {"AU1": (0.75, 1), "AU2": (0.4, 0.7), "AU4": (0.2, 0.4), "AU5": (0.7, 1), "AU25": (0.3, 0.7)},
        {"AU5": (0.8, 1), "AU20": (0.7, 1), "AU26": (0.2, 0.4)},
    ),
    "Happiness": (
        {"AU12": (0.65, 1), "AU7": (0.4, 0.8), "AU25": (0.3, 0.7)},
        {"AU12": (0.65, 1), "AU1": (0.3, 0.6), "AU2": (0.3, 0.6), "AU25": (0.3, 0.7)},
    ),
    "Sadness": (
        {"AU6": (0.4, 0.8), "AU15": (0.7, 1)},
        {"AU1": (0.7, 1), "AU4": (0.3, 0.5), "AU17": (0.6, 1)},
    ),
    "Surprise": (
        {"AU1": (0.7, 1), "AU2": (0.7, 1), "AU26": (0.4, 0.9)},
        {"AU5": (0.7, 1), "AU26": (0.5, 1)},
    ),
    "Other": (
        {"AU19": (0.5, 0.9)},
        {"AU14": (0.7, 1), "AU24": (0.6, 1)},
        {"AU16": (0.7, 1), "AU25": (0.4, 0.8)},
    ),
}
_MIXTURES = (("Happiness", "Surprise"), ("Sadness", "Anger"), ("Happiness", "Disgust"), ("Sadness", "Happiness"), ("Fear", "Disgust"))


def draw_expression(
    label: str, intensity: float, rng: np.random.Generator, lean: float = 0.0, shifted: bool = False
) -> tuple[np.ndarray, str]:
    """AU vector (len(AU_NAMES),) of a class at an intensity 0..1, and the name of the prototype drawn.

    `lean` is the person's lasting left-right asymmetry (about a tenth), to which a little is added each time. `shifted` draws from the
    held-out SHIFT_PROTOTYPES (a resting face has none: Neutral stays what it is).
    """
    if label == "Neutral":
        au, name = resting(rng), "neutral"
    elif label == "Other" and not shifted:
        au, name = _draw_other(rng)
    else:
        table = SHIFT_PROTOTYPES if shifted else PROTOTYPES
        kind = int(rng.integers(len(table[label])))
        au, name = _draw_prototype(table[label][kind], rng), f"{'shift-' * shifted}{label.lower()}-{kind}"
    if label != "Neutral":
        au = au * intensity
    return asymmetric(au, lean + rng.normal(0, 0.06)), name


def resting(rng: np.random.Generator) -> np.ndarray:
    """Resting face: a trace of tone in a few units, little enough to read as no expression."""
    return au_vector(
        {
            "AU1": rng.uniform(0, 0.06),
            "AU5": rng.uniform(0, 0.1),
            "AU12": rng.uniform(0.02, 0.12),
            "AU24": rng.uniform(0, 0.1),
            "AU43": rng.uniform(0, 0.06),
        }
    )


def _draw_prototype(prototype, rng) -> np.ndarray:
    return au_vector({unit: rng.uniform(*bounds) for unit, bounds in prototype.items()})


def _draw_other(rng) -> tuple[np.ndarray, str]:
    names = (*_OTHER, "mixture")
    name = names[rng.integers(len(names))]
    if name == "mixture":
        pair = _MIXTURES[rng.integers(len(_MIXTURES))]
        parts = [_draw_prototype(PROTOTYPES[label][int(rng.integers(len(PROTOTYPES[label])))], rng) for label in pair]
        return 0.55 * parts[0] + 0.55 * parts[1], "mixture"
    side, other = ("L", "R") if rng.random() < 0.5 else ("R", "L")
    return au_vector({unit.replace("S", side).replace("O", other): rng.uniform(*bounds) for unit, bounds in _OTHER[name].items()}), name


def au_vector(strengths: dict[str, float]) -> np.ndarray:
    """Vector over AU_NAMES; a paired unit without a side ("AU12") sets both sides."""
    au = np.zeros(len(AU_NAMES))
    for name, strength in strengths.items():
        for full in (name,) if name in _INDEX else (f"{name}L", f"{name}R"):
            au[_INDEX[full]] = strength
    return au


def asymmetric(au: np.ndarray, lean: float) -> np.ndarray:
    """Strengthen the left units by the share `lean` and weaken the right ones (lid closure stays as it is)."""
    factor = np.ones(len(AU_NAMES))
    for i, name in enumerate(AU_NAMES):
        if name.endswith(("L", "R")) and not name.startswith("AU43"):
            factor[i] += lean if name.endswith("L") else -lean
    return au * np.clip(factor, 0, 2)


def unit_matrix(unit_names: list[str]) -> np.ndarray:
    """(len(AU_NAMES), len(unit_names)): weights of the mesh units at full strength of each AU."""
    column = {name: i for i, name in enumerate(unit_names)}
    matrix = np.zeros((len(AU_NAMES), len(unit_names)))
    for name, units in _PAIRED.items():
        for side, words in (("L", ("Left", "left")), ("R", ("Right", "right"))):
            for unit, weight in units.items():
                word = words[1] if "-*-" in unit else words[0]
                matrix[_INDEX[name + side], column[unit.replace("*", word)]] += weight
    for name, units in _CENTRAL.items():
        for unit, weight in units.items():
            matrix[_INDEX[name], column[unit]] += weight
    return matrix


# How strongly each AU folds the eight wrinkle groups of `template.WRINKLES`; (forehead, glabella, nose root, crow's feet, nasolabial, marionette, chin, under-eye).
_FOLDS = {
    "AU1": (0.45, 0.10, 0, 0, 0, 0, 0, 0),
    "AU2": (0.80, 0, 0, 0, 0, 0, 0, 0),
    "AU4": (0, 1.5, 0.2, 0, 0, 0, 0, 0),
    "AU6": (0, 0, 0, 0.9, 0.2, 0, 0, 0.75),
    "AU7": (0, 0, 0, 0.3, 0, 0, 0, 0.5),
    "AU9": (0, 0.1, 1.5, 0.1, 0.8, 0, 0, 0.1),
    "AU10": (0, 0, 0.1, 0, 0.5, 0, 0, 0),
    "AU12": (0, 0, 0, 0.2, 0.8, 0, 0, 0.2),
    "AU14": (0, 0, 0, 0, 0.5, 0.1, 0, 0),
    "AU15": (0, 0, 0, 0, 0.05, 1.1, 0.3, 0),
    "AU17": (0, 0, 0, 0, 0, 0.1, 0.9, 0),
    "AU20": (0, 0, 0, 0, 0.35, 0.3, 0, 0),
}


def wrinkle_activation(au: np.ndarray) -> np.ndarray:
    """Activation (8, 2) of the wrinkle groups on the right (0) and left (1) half of the face, before personal gain."""
    active = np.zeros((8, 2))
    for name, folds in _FOLDS.items():
        for column, side in ((0, "R"), (1, "L")):
            strength = au[_INDEX[name]] if name in _INDEX else au[_INDEX[name + side]]
            active[:, column] += strength * np.array(folds)
    return active
