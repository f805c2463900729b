"""The settings as frozen dataclasses: what every key of `conf/` is called, and of what type it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from loupe.experiments import Experiments


@dataclass(frozen=True)
class Image:
    size: int  # px, square
    patch: int  # px


@dataclass(frozen=True)
class FacesCounts:
    pretrain_subjects: int
    train_subjects: int
    val_subjects: int
    test_subjects: int
    stills_per_subject: int
    clip_subjects: int
    frames_per_clip_subject: int
    micro_subjects: int
    micro_clips: int
    none_clips: int
    macro_clips: int
    macro_stride: int
    second_cameras: int  # 0 | 1: every labelled still is also taken from the side (set `camera`)
    shift_stills: int  # of each test person, with held-out lights, backgrounds, hair and AU prototypes (set `shift`)
    shift_clips: int  # micro clips of the micro subjects that look so (set `micro_shift`)
    dial_clips: int  # micro clips that are drawn again with nuisances off and at their strongest (sets `micro_calm`, `micro_wild`)


@dataclass(frozen=True)
class EncoderSize:
    width: int
    depth: int
    heads: int
    checkpoint_blocks: bool = False  # recompute every block in the backward pass: a third more time, a fraction of the memory


@dataclass(frozen=True)
class MaeSchedule:
    epochs: int
    batch: int
    base_lr: float  # per 256 images
    warmup_epochs: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    checkpoint_seconds: float


@dataclass(frozen=True)
class FinetuneSchedule:
    batch: int
    epochs: int
    min_steps: int
    max_steps: int
    lr_mae: float
    lr_scratch: float
    scratch_times: int  # as many steps for a network from scratch, which starts further away
    checkpoint_seconds: float


@dataclass(frozen=True)
class SmallCnn:
    channels: list[int]  # one entry a pair of convolutions
    times: int  # as many steps as an arm that starts from pre-training takes
    lr: float
    unlabelled: int  # mu of FixMatch: unlabelled faces a labelled one


@dataclass(frozen=True)
class MicronSchedule:
    epochs: int
    batch: int
    base_lr: float  # per 256 pairs
    warmup_epochs: int
    encoder_depth: int
    decoder_depth: int
    checkpoint_seconds: float
    patch: int | None = None  # px; these three are as in `image` and `encoder` where absent
    width: int | None = None
    heads: int | None = None


@dataclass(frozen=True)
class MicroHead:
    steps: int
    lr: float


@dataclass(frozen=True)
class MicroFinetune:
    """Fine-tuning of Micron-BERT in one fold: AdamW steps of `batch` pairs of onset and apex."""

    steps: int
    batch: int
    lr: float
    head_lr: float
    folds: int | None  # by subject; absent: leave one subject out
    checkpoint_seconds: float


@dataclass(frozen=True)
class NetworkRecipe:
    """Training of a network in one fold, from scratch: AdamW steps of `batch` clips, learning rate `lr` falling to 0 along a cosine."""

    steps: int
    batch: int
    lr: float


@dataclass(frozen=True)
class DifferenceVit(NetworkRecipe):
    encoder: EncoderSize  # its own: trained on a few hundred clips, once a fold and setting


@dataclass(frozen=True)
class Statistics:
    resamples: int
    controls: int  # studies of known truth that the decision rule is put to, a control


@dataclass(frozen=True)
class Scale:
    name: str
    device: str  # cpu | cuda | mps | auto
    precision: str  # fp32 | bf16
    threads: int
    workers: int
    seeds: list[int]
    more: bool  # whether the arms, methods and shares that experiments list under `more` are part of the study
    image: Image
    faces: FacesCounts
    encoder: EncoderSize
    mae: MaeSchedule
    finetune: FinetuneSchedule
    small_cnn: SmallCnn
    micron: MicronSchedule
    micro_head: MicroHead
    micro_finetune: MicroFinetune
    flow_cnn: NetworkRecipe
    difference_vit: DifferenceVit
    statistics: Statistics


@dataclass(frozen=True)
class Folder:
    root: str
    csv: str | None
    subject_pattern: str
    crop: list[float]
    val_share: float
    test_share: float
    classes: str | None = None  # as in `loupe data import --classes`


@dataclass(frozen=True)
class Data:
    source: str  # generated | folder | imported
    seed: int
    nuisance: int
    folder: Folder | None
    imported: str | None = None  # the list that `loupe use` wrote


@dataclass(frozen=True)
class View:
    name: str
    jitter: float
    nose: bool


@dataclass(frozen=True)
class MaeFace:
    mask_ratio: float
    norm_pix: bool
    norm_channels: bool
    betas: list[float]
    weight_decay: float
    clip: float
    shift: int


@dataclass(frozen=True)
class StrongAugmentation:
    """On top of flip and shift, for arms that ask for it (loupe.data.augment.strengthen)."""

    smallest_side: float  # of the random crop, as a share
    erased: float  # share of the samples that lose a rectangle
    mixed: float  # share of the samples that are blended with another


@dataclass(frozen=True)
class DualView:
    fuse_at_share: float
    fusion_depth: int
    share_low: bool
    self_attention: bool
    local_attention: bool
    importance: bool
    skip: bool
    head: str  # mean | grid
    drop_path: float
    layer_decay: float
    betas: list[float]
    weight_decay: float
    label_smoothing: float
    clip: float
    shift: int
    warmup_share: float
    strong: StrongAugmentation


@dataclass(frozen=True)
class MicronBertSettings:
    swap_ratio: float
    swap_block: int
    dma: str
    poi: bool
    agreement: str
    beta: float
    scale: str
    layout: str
    norm_pix: bool
    residual: bool
    betas: list[float]
    weight_decay: float
    clip: float
    crop_scale: float
    shift: int


@dataclass(frozen=True)
class Config:
    scale: Scale
    data: Data
    view: View
    mae_face: MaeFace
    dual_view: DualView
    micron_bert: MicronBertSettings
    experiments: Experiments
    views: dict[str, View] = field(default_factory=dict)  # all of conf/view by name: an arm's view has its own numbers
    overrides: tuple[str, ...] = field(default=())
