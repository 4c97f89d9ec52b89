"""weighted_boxes_fusion of one class and of several, with weights."""

import torch

from roikit import ops

from ._case import Case
from .nms import candidates, in_classes

OPTIONS = {"weighted_boxes_fusion": [{"conf_type": "max"}, {"conf_type": "box_and_model_avg"},
                                     {"conf_type": "absent_model_aware_avg"}, {"allows_overflow": True}]}


def one_class(seed):
    b, s = candidates(seed)
    return b, s, torch.zeros(len(b), dtype=torch.int64), torch.arange(len(b)) % 5


def of_models(seed):
    case = in_classes(seed)
    return *case, torch.arange(len(case[0])) % 4


CASES = [
    Case("weighted_boxes_fusion of one class", one_class, lambda *given: list(ops.weighted_boxes_fusion(*given)),
         fixed=False),
    Case("weighted_boxes_fusion", of_models, lambda *given: list(ops.weighted_boxes_fusion(
        *given, [1.0, 2.0, 0.7, 0.1], conf_type="absent_model_aware_avg")), fixed=False),
]
