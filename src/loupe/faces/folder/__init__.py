"""Generated faces as a folder of one's own: images, manifest, data card, contact sheet. No part of the study set, nor of its version."""
