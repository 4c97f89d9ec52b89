"""What lies behind an average precision: curves, thresholds, confusions, and which errors cost how much.

`matches` pairs detections with objects once, as COCO does; the other files count over the pairs:

    precision     precision and recall, average precision and the best threshold of each class
    confusion     which classes are taken for which
    error_kinds   what is wrong with each detection, and the AP that each kind of error costs

`figures` joins them to what ``analysis.json`` holds. NumPy alone, no torch.
"""

from roikit.trainer.analysis.figures import analyse, analyse_matches, write_analysis
from roikit.trainer.analysis.matches import KINDS, Matches, match_truth

__all__ = ["KINDS", "Matches", "analyse", "analyse_matches", "match_truth", "write_analysis"]
