"""What a detector is made of, as plain frozen data; `roikit.models.build` turns it into modules.

Every field is a number, a string, a tuple of those or another of these classes, so that
`dataclasses.asdict` of a config can be stored in a checkpoint or written as YAML.
"""

from roikit.models.configs.body import BackboneConfig
from roikit.models.configs.dense import DenseConfig, RescoringConfig
from roikit.models.configs.detector import DetectorConfig
from roikit.models.configs.image import ImageConfig
from roikit.models.configs.panoptic import PanopticConfig
from roikit.models.configs.proposals import RpnConfig
from roikit.models.configs.roi import BoxConfig, KeypointConfig, MaskConfig, MaskScoreConfig, SelectionConfig
from roikit.models.configs.rotated import rotated_config
from roikit.models.configs.segmenter import (
    AuxiliaryConfig,
    FCNHeadConfig,
    PyramidPoolingConfig,
    SegmenterConfig,
    SemanticFPNConfig,
    SkipsConfig,
    WindowConfig,
)
from roikit.models.configs.wiring import (
    CascadeConfig,
    HybridConfig,
    IntegralConfig,
    IterativeConfig,
    SemanticConfig,
    StageConfig,
)

__all__ = [
    "AuxiliaryConfig",
    "BackboneConfig",
    "BoxConfig",
    "CascadeConfig",
    "DenseConfig",
    "DetectorConfig",
    "FCNHeadConfig",
    "HybridConfig",
    "ImageConfig",
    "IntegralConfig",
    "IterativeConfig",
    "KeypointConfig",
    "MaskConfig",
    "MaskScoreConfig",
    "PanopticConfig",
    "PyramidPoolingConfig",
    "RescoringConfig",
    "RpnConfig",
    "SegmenterConfig",
    "SelectionConfig",
    "SemanticConfig",
    "SemanticFPNConfig",
    "SkipsConfig",
    "StageConfig",
    "WindowConfig",
    "rotated_config",
]
