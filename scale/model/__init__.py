"""The SCALE model: encoders, joint transformer, heads and inter-modality scores."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "encoders": ["ContinuousEncoder", "DiscreteEncoder"],
        "joint_transformer": ["JointCoTransformer"],
        "pretrained": ["initialise_from_pretrained"],
        "scale": ["EmbedOutput", "ScaleModel", "ScaleOutput"],
        "scores": ["Scores", "inter_modality_scores"],
    },
)
