"""Numbers that a part cannot work with are refused where they stand, by name."""

import dataclasses

import pytest

from roikit.models import (
    BackboneConfig,
    BoxConfig,
    DetectorConfig,
    ImageConfig,
    KeypointConfig,
    MaskConfig,
    MaskScoreConfig,
    RpnConfig,
    SemanticConfig,
)

# A slice takes -1 for "all but the last", a range for "none": neither fails by itself.
WRONG = [
    (BackboneConfig, "fpn_channels", 0, "must be positive, got 0"),
    (BackboneConfig, "norm_groups", 0, "must be positive, got 0"),
    (BackboneConfig, "norm_eps", -1e-5, "must be at least 0, got -1e-05"),
    (RpnConfig, "anchor_sizes", ((0.0,),) * 5, "must hold positive numbers"),
    (RpnConfig, "aspect_ratios", (1.0, -2.0), "must hold positive numbers"),
    *((RpnConfig, name, -1, "must be at least 0, got -1")
      for name in ("keep_before_nms_train", "keep_before_nms_test", "keep_after_nms_train", "keep_after_nms_test",
                   "samples_per_image", "box_beta", "conv_depth")),
    *((BoxConfig, name, -1, "must be at least 0, got -1")
      for name in ("detections_per_image", "samples_per_image", "box_beta")),
    (BoxConfig, "regression_weights", (10.0, 10.0, 5.0), "must be four positive numbers"),
    (BoxConfig, "regression_weights", (10.0, 10.0, 5.0, 0.0), "must be four positive numbers"),
    (BoxConfig, "representation", 0, "must be positive, got 0"),
    (BoxConfig, "conv_layers", (8, 0), "must hold positive numbers"),
    (BoxConfig, "norm_groups", 0, "must be positive, got 0"),
    (MaskConfig, "layers", (8, 0), "must hold positive numbers"),
    (MaskConfig, "deconv_channels", 0, "must be positive, got 0"),
    (MaskConfig, "norm_groups", 0, "must be positive, got 0"),
    (MaskConfig, "threshold", 1.5, "must be between 0 and 1, got 1.5"),
    (KeypointConfig, "layers", (0,), "must hold positive numbers"),
    (KeypointConfig, "loss_weight", -1.0, "must be at least 0, got -1.0"),
    (MaskScoreConfig, "layers", (0,), "must hold positive numbers"),
    (MaskScoreConfig, "loss_weight", -1.0, "must be at least 0, got -1.0"),
    (SemanticConfig, "layers", (0,), "must hold positive numbers"),
    (SemanticConfig, "fusion_level", -1, "must be at least 0, got -1"),
]


@pytest.mark.parametrize("kind, name, value, rule", WRONG)
def test_contract_numbers_out_of_range_are_refused(kind, name, value, rule):
    with pytest.raises(ValueError, match=f"^{kind.__name__}: {name} {rule}"):
        kind(**{name: value})


@pytest.mark.parametrize("norm", ["group", "batch", "sync"])
def test_contract_a_norm_needs_more_than_one_cell(norm):
    with pytest.raises(ValueError, match=f"^BoxConfig: norm '{norm}' .*: pool_size must be at least 2, got 1"):
        BoxConfig(pool_size=1, conv_layers=(8,), norm=norm)
    with pytest.raises(ValueError, match=f"^MaskConfig: norm '{norm}' .*: pool_size must be at least 2, got 1"):
        MaskConfig(pool_size=1, norm=norm)
    assert BoxConfig(pool_size=1, norm=norm).conv_layers == () and MaskConfig(pool_size=1).norm == "none"


def test_contract_res5_has_no_other_layers():
    with pytest.raises(ValueError, match=r"^BoxConfig: head 'res5' .*: conv_layers must be empty, got \(8,\)"):
        BoxConfig(head="res5", conv_layers=(8,))


# The fields of 0.1.0, whose places in a call are public: later ones come after them.
FIELDS = {
    ImageConfig: "mean std min_size max_size size_divisible resize_in_training",
    BackboneConfig: "name norm norm_eps norm_groups trainable_layers fpn_channels fpn_norm",
    RpnConfig: "anchor_sizes aspect_ratios rounded_anchors keep_before_nms_train keep_before_nms_test "
               "keep_after_nms_train keep_after_nms_test nms_threshold score_threshold foreground_iou background_iou "
               "samples_per_image positive_fraction box_beta conv_depth",
    BoxConfig: "pool_size sampling_ratio aligned representation regression_weights score_threshold nms_threshold "
               "detections_per_image foreground_iou background_iou samples_per_image positive_fraction box_beta",
    MaskConfig: "pool_size sampling_ratio aligned layers deconv_channels norm norm_groups target_rule paste_rule "
                "threshold mask_format",
    DetectorConfig: "num_classes image backbone rpn box mask",
}


@pytest.mark.parametrize("config", FIELDS)
def test_contract_fields_keep_their_places(config):
    first = FIELDS[config].split()
    assert [field.name for field in dataclasses.fields(config)][:len(first)] == first
