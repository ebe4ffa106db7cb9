"""The training loop, checkpoints, run folders and health checks."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "background": ["pretrain_in_background"],
        "checkpoint_manager": ["CheckpointManager", "TrainState"],
        "cross_fit": [
            "Agreement",
            "agreement_weights",
            "content_folds",
            "cross_fit_agreement",
            "judge_config",
            "modality_agreement",
            "pair_percentiles",
            "pair_probability",
            "read_agreement",
            "right_probability",
            "train_judge",
            "wrong_shares",
        ],
        "health_checks": [
            "HealthIssue",
            "TrainingError",
            "alignment",
            "check_health",
            "collapse_warning",
            "mean_cosine",
            "uniformity",
        ],
        "logging": ["MetricsLogger", "read_metrics", "read_scores"],
        "optimizer": ["learning_rate", "parameter_groups"],
        "run": ["RunFolder", "TrainedRun", "seeded_model"],
        "sampler": ["batch_indices"],
        "trainer": ["DROPOUT_STREAM", "MASK_STREAM", "StepOutput", "Trainer"],
    },
)
