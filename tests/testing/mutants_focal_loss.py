"""sigmoid_focal_loss as others write it, each wrong in one deliberate way; see ``mutants``."""

from roikit import kernels


def unweighted(inputs, targets, alpha=0.25, gamma=2, reduction="none"):
    return kernels.sigmoid_focal_loss(inputs, targets, -1, gamma, reduction)


def weighted_the_other_way(inputs, targets, alpha=0.25, gamma=2, reduction="none"):
    return kernels.sigmoid_focal_loss(inputs, targets, alpha if alpha < 0 else 1 - alpha, gamma, reduction)


def entropy(inputs, targets, alpha=0.25, gamma=2, reduction="none"):
    return kernels.sigmoid_focal_loss(inputs, targets, alpha, 0, reduction)


MUTANTS = [  # function, op, the convention's name
    (unweighted, "sigmoid_focal_loss", "unweighted"),
    (weighted_the_other_way, "sigmoid_focal_loss", "alpha-of-negatives"),
    (entropy, "sigmoid_focal_loss", "cross-entropy"),
]
