"""Faces out of pictures: find them, place 68 points and the pupils, cut an aligned square. Needs the extra `align`, and no network."""
