"""detectron2.modeling: matcher and sampling."""

import torch

__all__ = ["Matcher", "subsample_labels"]


class Matcher:
    """detectron2.modeling.matcher.Matcher: the best ground truth and a label for each prediction, from a matrix.

    roikit.ops.match_boxes does the same for boxes without a matrix.

    Args:
        thresholds: ascending, above 0.
        labels: one more than thresholds, each -1, 0 or 1: the label of a best quality below the first threshold,
            from the first up to the second, ..., of at least the last.
        allow_low_quality_matches: also label 1, for each ground truth whose best quality is above 0, every prediction
            that has exactly that quality with it.

    Raises:
        ValueError: thresholds or labels are others.
    """

    def __init__(self, thresholds, labels, allow_low_quality_matches=False):
        thresholds, labels = list(thresholds), list(labels)
        if not thresholds or not thresholds[0] > 0 or sorted(thresholds) != thresholds:
            raise ValueError(f"Matcher: thresholds must ascend and be above 0, got {thresholds}")
        if len(labels) != len(thresholds) + 1 or not set(labels) <= {-1, 0, 1}:
            raise ValueError(f"Matcher: labels must be one more than the thresholds, each -1, 0 or 1, got {labels}")
        self.thresholds = [-float("inf"), *thresholds, float("inf")]
        self.labels = labels
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix):
        """Match.

        Args:
            match_quality_matrix: (M, N) floating, at least 0, of M ground truths and N predictions.

        Returns:
            matches (N,) int64, the lowest of equally good ground truths, 0 where there is none; labels (N,) int8.

        Raises:
            ValueError: another rank; a quality below 0 or NaN.
        """
        quality = match_quality_matrix
        if quality.dim() != 2:
            raise ValueError(f"Matcher: match_quality_matrix must have shape (M, N), got {tuple(quality.shape)}")
        if quality.numel() == 0:
            shape = quality.shape[1:]
            return (quality.new_zeros(shape, dtype=torch.int64),
                    quality.new_full(shape, self.labels[0], dtype=torch.int8))
        if not bool((quality >= 0).all()):
            raise ValueError(f"Matcher: match_quality_matrix must be at least 0, got {quality.min().item()}")
        best, matches = quality.max(dim=0)
        labels = torch.full_like(matches, self.labels[0], dtype=torch.int8)
        for threshold, label in zip(self.thresholds[1:-1], self.labels[1:], strict=True):
            labels[best >= threshold] = label
        if self.allow_low_quality_matches:
            top = quality.amax(dim=1, keepdim=True)
            labels[((quality == top) & (top > 0)).any(dim=0)] = 1
        return matches, labels


def subsample_labels(labels, num_samples, positive_fraction, bg_label):
    """detectron2.modeling.sampling.subsample_labels: random positives and negatives; the same ones for the same seed.

    Args:
        labels: (N,) integers: -1 ignored, bg_label negative, any other positive.
        num_samples: how many at most.
        positive_fraction: of num_samples, how many positives at most; negatives fill the rest.
        bg_label: the background.

    Returns:
        two int64 vectors, the indices of the positives and of the negatives.
    """
    positive = ((labels != -1) & (labels != bg_label)).nonzero().flatten()
    negative = (labels == bg_label).nonzero().flatten()
    wanted = min(len(positive), int(num_samples * positive_fraction))
    return tuple(found[torch.randperm(len(found), device=found.device)[:count]]
                 for found, count in ((positive, wanted), (negative, min(len(negative), num_samples - wanted))))
