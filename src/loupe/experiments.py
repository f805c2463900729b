"""The settings of the experiments, conf/experiment: which arms are compared, at which shares of the labels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One way to train a still classifier. `view: default` is the study's ipsilateral view; a switch that is None is as
    conf/model/dual_view.yaml has it."""

    name: str
    variant: str  # single | mean | concat | updown | late, or small-cnn: the convolutional baseline, which has no pre-training and one view
    view: str = "default"
    init: str = "mae"  # mae | scratch
    attention: bool = True
    depth_matched: bool = False
    self_attention: bool | None = None
    local_attention: bool | None = None
    importance: bool | None = None
    augmentation: str = "usual"  # usual | strong
    transfer: bool = False  # first fine-tuned on another labelled set (loupe.training.transfer)
    task: str = "stills"  # stills: the class of a face | units: which single action units are present

    @property
    def two_views(self) -> bool:
        return self.variant not in ("single", "small-cnn")

    @property
    def pretrained(self) -> bool:
        return self.init == "mae" and self.variant != "small-cnn"


@dataclass(frozen=True)
class MicronArm:
    name: str
    dma: str
    poi: bool
    pretrained: bool
    corruption: str = "swap"  # swap | mask
    residual: bool | None = None  # None: as conf/model/micron_bert.yaml has it


@dataclass(frozen=True)
class TunedArm:
    """One way to fine-tune all of Micron-BERT on labelled clips."""

    name: str
    pretraining: str  # none | micron-bert | mae-face (its encoder) | mae-face+micron-bert (the one after the other)
    readout: str = "dma"  # dma | token | mean (loupe.models.micron_classifier)
    dma: str = "diagonal"
    poi: bool = True


@dataclass(frozen=True)
class TuningRecipe:
    betas: list[float]  # AdamW
    weight_decay: float
    clip: float  # gradient norm
    warmup_share: float  # of the steps
    shift: int  # px at 64, onset and apex alike
    dropout: float  # before the head, on what is read by place


@dataclass(frozen=True)
class FineTuning:
    recipe: TuningRecipe
    lr_after_mae: float  # peak rate of Micron-BERT's own pre-training where it starts from MAE-Face
    rivals: list[str]  # methods that are asked in the same folds
    arms: list[TunedArm]
    more: list[TunedArm]


@dataclass(frozen=True)
class ActionUnit:
    name: str
    columns: list[int]  # of the manifest's `au`: left and right side, or one


@dataclass(frozen=True)
class ActionUnits:
    threshold: float  # strength 0..1 of the stronger side from which a unit counts as present
    units: list[ActionUnit]


@dataclass(frozen=True)
class CrossValidation:
    folds: int
    arms: list[str]  # two names: is the first better than the second? Empty where the scale has no `more`


@dataclass(frozen=True)
class DualViewExperiment:
    fraction: float
    arms: list[Arm]
    further_conditions: list[str]  # names of arms
    training_people: list[str]  # names of arms that are also scored on the very rows they were trained on
    action_units: ActionUnits
    cross_validation: CrossValidation
    more: list[Arm]


@dataclass(frozen=True)
class MicroExperiment:
    methods: list[str]
    more: list[str]
    readout: str  # of frozen Micron-BERT: dma | token | mean (loupe.models.micron_classifier)
    poi_topk: float  # share of the patches that method micron-bert-topk keeps
    svm_c: list[float]
    weight_decays: list[float]  # of Micron-BERT's heads, and of the two networks trained in each fold
    flow_grid: int
    fine_tuning: FineTuning


@dataclass(frozen=True)
class AblationExperiment:
    fraction: float
    arms: list[Arm]
    micro: list[MicronArm]
    more: list[MicronArm]
    skew: list[
        float
    ]  # doses: shares of the pre-training people who come from one half of the skin tones; empty where the scale has no `more`


@dataclass(frozen=True)
class FramesExperiment:
    every: int  # of the stored training frames every so manieth, against all of them
    probe_c: list[float]  # of the probe's logistic regression, the strongest regularisation first
    windows: list[int]  # stored frames, odd
    arms: list[Arm]  # networks beside the probe


@dataclass(frozen=True)
class FixMatch:
    """Where the unlabelled faces of pre-training help the small CNN (loupe.training.fixmatch)."""

    fractions: list[float]
    threshold: float  # tau: probability from which a guess is learnt from
    weight: float  # lambda, of their loss


@dataclass(frozen=True)
class MoreLowLabel:
    fractions: list[float]
    people: list[float]
    arms: list[Arm]
    frame_arms: list[Arm]


@dataclass(frozen=True)
class LowLabelExperiment:
    fractions: list[float]
    people: list[float]  # shares of the people with all their labels; an arm trained so is called <arm>-people
    arms: list[Arm]
    more: MoreLowLabel
    doses: list[float]  # pictures that pre-training sees, times the study's
    hog_c: list[float]
    fixmatch: FixMatch
    frames: FramesExperiment


@dataclass(frozen=True)
class Experiments:
    dual_view: DualViewExperiment
    micro_expressions: MicroExperiment
    ablations: AblationExperiment
    low_label: LowLabelExperiment
