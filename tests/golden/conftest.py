"""The tests here import weights.py and compare.py, which also serve the scripts that make the golden files."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
