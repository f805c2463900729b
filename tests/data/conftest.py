"""The look-alikes stand beside the tests, not inside them: tests of later stages draw on them too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
