"""The benchmark is not installed: it is run from the top of the tree."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
