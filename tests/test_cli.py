"""The command line: what it does, and that an expected error is one sentence and exit code 1."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from loupe.models.pretrained import load_pretrained, save_pretrained
from loupe.models.vit import Encoder

ROOT = Path(__file__).resolve().parents[1]


def loupe(*arguments):
    command = [sys.executable, "-m", "loupe.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("layout", ["mae-face", "timm"])
def test_weights_survive_a_round_trip_through_a_foreign_layout(tmp_path, layout):
    torch.manual_seed(0)
    encoder = Encoder(image_size=16, patch_size=8, width=64, depth=1, heads=1).eval()
    save_pretrained(encoder, tmp_path / "ours.safetensors")
    for source, target, options in (
        ("ours.safetensors", "foreign.pth", ["--layout", layout]),
        ("foreign.pth", "back.safetensors", ["--heads", "1"]),
    ):
        done = loupe("weights", "convert", tmp_path / source, tmp_path / target, *options)
        assert done.returncode == 0, done.stderr
    back = load_pretrained(tmp_path / "back.safetensors").eval()
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(back.forward_features(images), encoder.forward_features(images))


def test_an_expected_error_is_one_sentence(tmp_path):
    (tmp_path / "empty.pth").touch()
    done = loupe("weights", "convert", tmp_path / "empty.pth", tmp_path / "out.safetensors")
    assert done.returncode == 1 and "Traceback" not in done.stderr and "empty.pth" in done.stderr
    assert not (tmp_path / "out.safetensors").exists()


def test_settings_are_printed_and_checked():
    assert "mask_ratio: 0.5" in loupe("config", "mae_face.mask_ratio=0.5").stdout
    bad = loupe("config", "mae_face.mask_ratio=2")
    assert bad.returncode == 1 and bad.stderr.startswith("loupe: conf key mae_face.mask_ratio")
