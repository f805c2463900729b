"""The study's settings: Hydra composes `conf/`, frozen dataclasses check it, and everything inside the package sees only those."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from loupe.errors import LoupeError
from loupe.experiments import Arm, Experiments, MoreLowLabel
from loupe.settings import Config, Scale, View

__all__ = ["Arm", "Config", "find_root", "load", "study_settings"]

_CHOICES = {
    "scale.device": ("cpu", "cuda", "mps", "auto"),
    "scale.precision": ("fp32", "bf16"),
    "data.source": ("generated", "folder", "imported"),
    "data.nuisance": (0, 1, 2),
    "dual_view.head": ("mean", "grid"),
    "micron_bert.dma": ("diagonal", "full", "off"),
    "micron_bert.agreement": ("mse", "dino"),
    "micron_bert.scale": ("normalised", "literal"),
    "micron_bert.layout": ("paper", "released"),
}
_TUNED_CHOICES = {
    "pretraining": ("none", "micron-bert", "mae-face", "mae-face+micron-bert"),
    "readout": ("dma", "token", "mean"),
    "dma": ("diagonal", "full", "off"),
}
_ARM_CHOICES = {"augmentation": ("usual", "strong"), "task": ("stills", "units")}
_POSITIVE = (
    "scale.threads scale.workers scale.image.size scale.image.patch scale.encoder.width scale.encoder.depth scale.encoder.heads "
    "scale.mae.epochs scale.mae.batch scale.mae.base_lr scale.finetune.batch scale.finetune.min_steps scale.micron.epochs "
    "scale.micron.batch scale.micron.base_lr scale.micro_head.steps scale.micro_finetune.steps scale.micro_finetune.batch "
    "scale.flow_cnn.steps scale.flow_cnn.batch scale.difference_vit.steps scale.difference_vit.batch "
    "scale.statistics.resamples scale.statistics.controls"
).split()


def find_root() -> Path:
    """Nearest folder at or above the current one that holds `dvc.yaml` and `conf/`.

    Never derived from the package's own file: a second clone or a scratch copy must run its own checkout.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "conf").is_dir():
            return folder
    raise LoupeError(f"{here} is not inside a Loupe checkout (no dvc.yaml and conf/ here or above): change into the project folder first.")


def study_settings(root: Path) -> dict[str, str]:
    """What conf/study.yaml says: `scale`, `data`, `raw`."""
    path = root / "conf" / "study.yaml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise LoupeError(f"conf/study.yaml cannot be read ({error}): restore it with `git checkout conf/study.yaml`.") from error
    if not isinstance(found, dict) or set(found) != {"scale", "data", "raw"}:
        raise LoupeError("conf/study.yaml must hold exactly the keys scale, data and raw: restore it with `git checkout conf/study.yaml`.")
    return found


def load(overrides: list[str] | tuple[str, ...] = (), root: Path | None = None) -> Config:
    """Compose `conf/` with `overrides` (Hydra syntax, e.g. "scale=smoke", "mae_face.mask_ratio=0.5") and check every key, type and value.

    Raises LoupeError with the offending key for unknown keys, wrong types and values outside their choices.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    root = root or find_root()
    settings = study_settings(root)
    chosen = [f"scale={settings['scale']}", f"data={settings['data']}"]
    if settings["data"] == "folder":
        chosen.append(f"data.folder.root={_quoted(settings['raw'])}")
    if settings["data"] == "imported":
        chosen.append(f"data.imported={_quoted(settings['raw'])}")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(root / "conf"), version_base="1.3"):
            composed = compose("config", overrides=[*chosen, *overrides])
        plain = OmegaConf.to_container(composed, resolve=True)
        config = _build(Config, plain, "")
    except HydraException as error:
        raise LoupeError(f"The configuration does not compose: {_first_line(error)} Check the override or the file in conf/.") from error
    except OmegaConfBaseException as error:
        raise LoupeError(f"The configuration is not valid: {_first_line(error)} Check the override or the file in conf/.") from error
    _check_values(config)
    return replace(
        config, experiments=_part_of_the_study(config), views=_views(root) | {config.view.name: config.view}, overrides=tuple(overrides)
    )


def _views(root: Path) -> dict[str, View]:
    """Every file of conf/view: an arm that names a view has that view's numbers, whichever view is the study's own."""
    files = sorted((root / "conf" / "view").glob("*.yaml"))
    return {file.stem: _build(View, yaml.safe_load(file.read_text(encoding="utf-8")), f"view ({file.name})") for file in files}


def _quoted(text: str) -> str:
    """`text` as a value in Hydra's grammar, whatever signs it holds."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text.replace("${", r"\${"), Quote.single).with_quotes()


def _part_of_the_study(config: Config) -> Experiments:
    """The experiments as this scale runs them: what they list under `more` joined or dropped, and no arm whose view these faces cannot
    have."""
    found = config.experiments
    if config.scale.more:
        dual, micro, ablations, low = found.dual_view, found.micro_expressions, found.ablations, found.low_label
        found = Experiments(
            dual_view=replace(dual, arms=dual.arms + [arm for arm in dual.more if arm.view != "camera" or _has_second_camera(config)]),
            micro_expressions=replace(
                micro,
                methods=micro.methods + micro.more,
                fine_tuning=replace(micro.fine_tuning, arms=micro.fine_tuning.arms + micro.fine_tuning.more),
            ),
            ablations=replace(ablations, micro=ablations.micro + ablations.more),
            low_label=replace(
                low,
                fractions=sorted(low.fractions + low.more.fractions),
                people=sorted(low.people + low.more.people),
                arms=low.arms + low.more.arms,
                frames=replace(low.frames, arms=low.frames.arms + low.more.frame_arms),
            ),
        )
    crossed, tuning = found.dual_view.cross_validation, found.micro_expressions.fine_tuning
    tuned = [arm for arm in tuning.arms if "mae-face" not in arm.pretraining or _one_encoder(config.scale)]
    return Experiments(
        dual_view=replace(found.dual_view, more=[], cross_validation=crossed if config.scale.more else replace(crossed, arms=[])),
        micro_expressions=replace(found.micro_expressions, more=[], fine_tuning=replace(tuning, arms=tuned, more=[])),
        ablations=replace(found.ablations, more=[], skew=found.ablations.skew if config.scale.more else []),
        low_label=replace(found.low_label, more=MoreLowLabel([], [], [], [])),
    )


def _has_second_camera(config: Config) -> bool:
    return config.data.source == "generated" and config.scale.faces.second_cameras > 0


def _one_encoder(scale: Scale) -> bool:
    """Whether Micron-BERT's encoder is of the size of MAE-Face's, and can start from its weights."""
    micron, own = scale.micron, (scale.image.patch, scale.encoder.width, scale.encoder.heads)
    return micron.encoder_depth == scale.encoder.depth and (micron.patch, micron.width, micron.heads) in ((None, None, None), own)


def _first_line(error: Exception) -> str:
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip() and "set HYDRA_FULL_ERROR" not in line)
    return text if text.endswith(".") else f"{text}."


def _build(kind: Any, value: Any, key: str) -> Any:
    """Build the dataclass `kind` from plain containers; an unknown, missing or mistyped key is an error that names it."""
    import dataclasses
    import types
    import typing

    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return None if value is None else _build(options[0], value, key)
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise LoupeError(f"conf key {key} must be a list, not {value!r}: mend it in conf/ or in the override.")
        inner = typing.get_args(kind)[0]
        return [_build(inner, item, f"{key}[{index}]") for index, item in enumerate(value)]
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise LoupeError(f"conf key {key or 'config'} must be a group of keys, not {value!r}: mend it in conf/ or in the override.")
        hints = typing.get_type_hints(kind)
        known = {f.name: f for f in dataclasses.fields(kind) if f.name not in ("views", "overrides")}
        for name in value:
            if name not in known:
                raise LoupeError(f"Unknown conf key {_join(key, name)}: known keys there are {', '.join(known)}.")
        built = {}
        for name, spec in known.items():
            if name in value:
                built[name] = _build(hints[name], value[name], _join(key, name))
            elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
                raise LoupeError(f"conf key {_join(key, name)} is missing: add it to its file in conf/.")
        return kind(**built)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind in (int, float) and isinstance(value, bool)):
        raise LoupeError(f"conf key {key} must be {kind.__name__}, not {value!r}: mend it in conf/ or in the override.")
    return value


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _lookup(config: Config, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _check_values(config: Config) -> None:
    for key, allowed in _CHOICES.items():
        if _lookup(config, key) not in allowed:
            raise LoupeError(f"conf key {key} is {_lookup(config, key)!r}, but must be one of {', '.join(map(str, allowed))}.")
    for key in _POSITIVE:
        if not _lookup(config, key) > 0:
            raise LoupeError(f"conf key {key} is {_lookup(config, key)!r}, but must be above 0.")
    for name, count in vars(config.scale.faces).items():
        if count < 0:
            raise LoupeError(f"conf key scale.faces.{name} is {count}, but a count cannot be negative.")
    for name, share in vars(config.dual_view.strong).items():
        if not 0 <= share <= 1 or (name == "smallest_side" and share == 0):
            raise LoupeError(f"conf key dual_view.strong.{name} is {share}, but must be a share of 1{', and some of it' * (share == 0)}.")
    found = config.experiments
    stills, tuning = (
        [*found.dual_view.arms, *found.dual_view.more, *found.ablations.arms, *found.low_label.arms],
        found.micro_expressions.fine_tuning,
    )
    choices = [(arm, _ARM_CHOICES) for arm in stills] + [(arm, _TUNED_CHOICES) for arm in tuning.arms + tuning.more]
    for arm, named in choices:
        for key, allowed in named.items():
            if getattr(arm, key) not in allowed:
                raise LoupeError(f"conf key {key} of arm {arm.name} is {getattr(arm, key)!r}, but must be one of {', '.join(allowed)}.")
    crossed, names = found.dual_view.cross_validation.arms, {arm.name for arm in found.dual_view.arms}
    if config.scale.more and not (len(crossed) == 2 and set(crossed) <= names):
        raise LoupeError(f"conf key experiments.dual_view.cross_validation.arms is {crossed}, but must name two arms of the experiment.")
    image = config.scale.image
    if image.size % image.patch:
        raise LoupeError(f"conf key scale.image.size ({image.size}) must be a multiple of scale.image.patch ({image.patch}).")
    if not 0 < config.mae_face.mask_ratio < 1:
        raise LoupeError(f"conf key mae_face.mask_ratio is {config.mae_face.mask_ratio}, but must lie between 0 and 1.")
    if not 0 <= config.micron_bert.swap_ratio <= 1:
        raise LoupeError(f"conf key micron_bert.swap_ratio is {config.micron_bert.swap_ratio}, but must lie in 0..1.")
    if config.scale.encoder.width % config.scale.encoder.heads or config.scale.encoder.width % 4:
        raise LoupeError("conf key scale.encoder.width must be a multiple of scale.encoder.heads and of 4 (sin-cos positions).")
    if not config.scale.seeds:
        raise LoupeError("conf key scale.seeds is empty, but at least one seed is needed.")
    if config.data.source == "folder" and config.data.folder is None:
        raise LoupeError("conf key data.folder is empty, but data.source is folder: see conf/data/folder.yaml.")
    if config.data.source == "imported" and not config.data.imported:
        raise LoupeError("conf key data.imported is empty, but data.source is imported: choose the sets with `loupe use`.")
