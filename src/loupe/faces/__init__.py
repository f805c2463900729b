"""The generated study set: believable faces from CC0 head data, with the ground truth that no real set has."""
