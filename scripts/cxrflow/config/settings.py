"""Every setting, defined once: name, type, default, unit and meaning.

From these dataclasses come the check of a config, the JSON schema in
workflow/schemas/, `--help` of every stage, and config/README.md. A default changed here reruns what depends on it,
because rules get their slice with the defaults filled in.
"""

from dataclasses import dataclass, field
from typing import Any

from cxrflow.config.parsing import setting

DEVICES = ("auto", "cpu", "cuda")
# Of torchvision's ImageNet weights (their `transforms()`), for red, green and blue in 0-1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_SEED = 2**32 - 1  # of scikit-learn, whose t-SNE comes after the training


@dataclass(frozen=True)
class ComputeSettings:
    """Where a study computes, not what: changing any of these keys reruns nothing."""

    device: str = setting(
        "auto takes a GPU if there is one; cuda stops where there is none. CPU and GPU round differently, so a model"
        " trained on the other differs as much as it would with another seed",
        "auto",
        choices=DEVICES,
    )
    threads: int = setting(
        "CPU threads of each job; a profile's set-threads overrides it for single rules. Another number changes the"
        " last bits of a model trained on a CPU",
        2,
        minimum=1,
        unit="threads",
    )
    gpus: int = setting(
        "GPUs of one machine that share one training: each takes its part of every batch. Pays for large images and"
        " batches; many small models finish sooner side by side. With device: cpu, as many processes on the CPU (for"
        " tests, not for speed)",
        1,
        minimum=1,
        unit="GPUs",
    )
    trainings_per_job: int = setting(
        "trainings that share a Slurm job, one after another, each with its evaluation; their scores share another one."
        " Pays where a training takes minutes. A failed job is tried again as a whole, but a finished training is not"
        " repeated",
        1,
        minimum=1,
        unit="trainings",
    )
    repeat_hours: float = setting(
        "a run stops before its first job where it would repeat finished trainings that took more than this together,"
        " and says why each would run again; a larger number lets it. What -f or -F asks for is not counted",
        4.0,
        minimum=0,
        unit="hours",
    )

    @property
    def requested_gpus(self) -> int:
        """GPUs that a training requests from a cluster: none where it computes on the CPU."""
        return 0 if self.device == "cpu" else self.gpus


MASKS = ("*mask", "*masks", "*[_ -]mask.*")  # names of folders and files


@dataclass(frozen=True)
class DatasetSettings:
    """One dataset: its folder below `data_root` and the reader that understands it."""

    reader: str = setting(
        "its layout: covid_radiography, kermany or nih for the three published ones; folders for any tree with one"
        " folder per class; csv for a table and a folder of images"
    )
    folder: str = setting("its folder below data_root")
    title: str = setting("its name in tables and figures; empty: the key", "", is_name=True)
    citation: str = setting("what to cite for it, shown at the end of the page", "")
    classes: dict[str, str] = setting(
        "the classes that are kept, {label: class name}, where a label is a folder (folders, covid_radiography), a"
        " cell (csv), a finding (nih) or bacterial, viral or normal (kermany); others are left out and counted; empty:"
        " the study's classes, or with folders and csv every label",
        dict,
        is_name=True,
    )
    findings: tuple[str, ...] = setting(
        "reader nih: of a study in which an image may have several labels or none (config/nih14.yaml): all images are"
        " kept, and each of these findings is a label of its own, yes or no; empty: one class per image",
        (),
    )
    skip: tuple[str, ...] = setting(
        "folders and files that are left out and counted, by name or by path from `folder`, such as"
        " ['*masks', '*_seg.png', old/test]; case does not count",
        MASKS,
    )
    patient_pattern: str = setting(
        "where the dataset names no patients: regular expression, with a group named patient, searched for in the"
        " relative path; empty: every image counts as a patient",
        "",
    )
    table: str = setting("reader csv: the CSV file, relative to the folder", "")
    image_column: str = setting("reader csv: the column with the image's path or file name", "image")
    label_column: str = setting("reader csv: the column with the label", "label")
    patient_column: str = setting("reader csv: the column with the patient; empty: use patient_pattern", "")
    split_column: str = setting(
        "reader csv: the column with the dataset's own split (train, val, test), for split.source: published", ""
    )
    lesion_masks: str = setting(
        "folder of PNG masks, relative to `folder`, named like the images (non-zero is lesion), to score the Grad-CAM",
        "",
    )


@dataclass(frozen=True)
class PhantomSettings:
    """Synthetic X-rays (phantoms) in the published layouts, to try everything without any data."""

    images_per_class: int = setting(
        "images per class and dataset that the selection rule keeps; those it leaves out are added to them",
        120,
        minimum=12,
    )
    images_per_class_of: dict[str, int] = setting(
        "images_per_class for single datasets, {covid, pneumonia or xray8: images}; the seven classes of xray8 take"
        " half of a study's computing time",
        dict,
        minimum=12,
    )
    size_scale: float = setting(
        "image sizes relative to the published ones (1.0: xray8 at 1024x1024 px)", 0.25, minimum=0.05, maximum=1.0
    )
    sign_contrast: float = setting(
        "multiplies the density that a sign adds to the lung: above 1, fewer images and epochs are enough to learn it",
        1.0,
        minimum=0.1,
        maximum=4.0,
    )
    seed: int = setting("seed of every phantom", 0, minimum=0, maximum=MAX_SEED)

    def count_of(self, dataset: str) -> int:
        """Return how many images of each class a dataset gets."""
        return self.images_per_class_of.get(dataset, self.images_per_class)


@dataclass(frozen=True)
class IndexSettings:
    """Which images are kept."""

    max_images_per_class: int = setting(
        "cap per class for a quick look: of patients in seeded order, whatever the other classes hold; 0: no cap",
        0,
        minimum=0,
        unit="images",
    )
    cap_seed: int = setting("seed of the cap", 0, minimum=0, maximum=MAX_SEED)
    max_rejected_share: float = setting(
        "stop if more than this share of the images is unreadable", 0.05, minimum=0.0, maximum=1.0
    )
    max_image_mpx: float = setting(
        "refuse larger images before decoding them: a 0.9 MB PNG can unpack to 5 GB",
        100.0,
        minimum=0.1,
        unit="megapixels",
    )


@dataclass(frozen=True)
class SplitSettings:
    """The split by patient and class."""

    source: str = setting(
        "seed splits by the shares below; published keeps the dataset's own split (kermany: its folders; nih: its two"
        " lists; folders: train, val and test folders; csv: split_column), and cuts val from train where there is none",
        "seed",
        choices=("seed", "published"),
    )
    train: float = setting("share of images for training", 0.70, minimum=0.01, maximum=0.98)
    val: float = setting("share for choosing the epoch and the model", 0.15, minimum=0.01, maximum=0.98)
    test: float = setting("share for the final scores", 0.15, minimum=0.01, maximum=0.98)
    seed: int = setting(
        "seed of the split; the same seed gives the same split on every machine", 0, minimum=0, maximum=MAX_SEED
    )


@dataclass(frozen=True)
class PreprocessSettings:
    """From a file to a square 8-bit gray image."""

    size_px: int = setting("side of the square image", 256, minimum=16, maximum=2048, unit="px")
    equalize: str = setting(
        "histogram spreads the grey levels of the whole image evenly; clahe those of its parts, up to a limit. false"
        " and true mean none and histogram",
        "histogram",
        choices=("none", "histogram", "clahe"),
        switch=("none", "histogram"),
    )
    clahe_clip: float = setting(
        "equalize clahe: contrast is raised to at most this many times what it was, roughly",
        2.0,
        minimum=1.0,
        maximum=40.0,
    )
    clahe_tiles: int = setting("equalize clahe: parts along each side", 8, minimum=1, maximum=32)
    gamma: float = setting(
        "exponent of the grey levels, as shares of white, after equalization: below 1 brightens; 1: none",
        1.0,
        minimum=0.1,
        maximum=10.0,
    )
    blur_px: int = setting("side of the Gaussian blur's kernel, odd; 0: no blur", 5, minimum=0, maximum=31, unit="px")


@dataclass(frozen=True)
class TrainSettings:
    """The training, the same for every model."""

    precision: str = setting(
        "bfloat16 computes the forward pass in bfloat16 (autocast); weights stay float32",
        "float32",
        choices=("float32", "bfloat16"),
    )
    epochs: int = setting("passes over the train subset", 50, minimum=1)
    train_share: float = setting(
        "share of the train images that are used, for a learning curve: whole patients, of every class alike; each"
        " share is part of every larger one and the same for all models",
        1.0,
        minimum=0.01,
        maximum=1.0,
    )
    batch_size: int = setting("images per step", 32, minimum=2, unit="images")
    optimizer: str = setting("what takes the steps", "adam", choices=("adam", "adamw", "sgd"))
    learning_rate: float = setting("the optimizer's learning rate at the start of each cycle", 1e-3, minimum=0.0)
    momentum: float = setting(
        "optimizer sgd: share of a step that the next goes on with", 0.9, minimum=0.0, maximum=0.999
    )
    weight_decay: float = setting(
        "adam and sgd: L2 penalty, a part of the gradient; adamw: share of the weights, times the learning rate, that"
        " each step takes off them",
        0.0,
        minimum=0.0,
    )
    restart_epochs: int = setting("length of a cosine cycle (warm restarts)", 10, minimum=1, unit="epochs")
    warmup_epochs: float = setting(
        "over the first epochs the learning rate rises evenly from 0 to the cosine; 0: none",
        0.0,
        minimum=0.0,
        unit="epochs",
    )
    average_decay: float = setting(
        "the weights that are validated and kept are a moving average over the steps, in which each step's weights"
        " count for 1 - average_decay (0.999: mostly the last thousand steps), more over the first ones; 0: those of"
        " the last step",
        0.0,
        minimum=0.0,
        maximum=0.99999,
    )
    loss: str = setting(
        "cross_entropy, or focal, which counts images less the surer the network already is of their class",
        "cross_entropy",
        choices=("cross_entropy", "focal"),
    )
    focal_gamma: float = setting("loss focal: how much less; 0: cross entropy", 2.0, minimum=0.0, maximum=10.0)
    label_smoothing: float = setting(
        "share of each label that is spread evenly over all classes, in the loss of training and validation",
        0.0,
        minimum=0.0,
        maximum=0.9,
    )
    kept_epoch: str = setting(
        "which epoch's weights are the model: that of the lowest validation loss, as in the paper, of the highest"
        " validation macro F1, or the last, for a training of one cosine cycle",
        "val_loss",
        choices=("val_loss", "val_macro_f1", "last"),
    )
    class_weights: str = setting(
        "weight of each class in the loss, from the train subset: none, all alike; inverse, by 1 / images;"
        " effective_number, between the two by effective_number_beta. false and true mean none and inverse",
        "inverse",
        choices=("none", "inverse", "effective_number"),
        switch=("none", "inverse"),
    )
    effective_number_beta: float = setting(
        "class_weights effective_number: after about 1 / (1 - beta) images of a class another one adds little; 0 weighs"
        " all classes alike, towards 1 it is inverse",
        0.999,
        minimum=0.0,
        maximum=0.999999,
    )
    flip_probability: float = setting(
        "share of images flipped left to right in each epoch", 0.5, minimum=0.0, maximum=1.0
    )
    sharpness_probability: float = setting("share of images sharpened in each epoch", 0.5, minimum=0.0, maximum=1.0)
    sharpness_factor: float = setting("1 leaves an image as it is, 2 doubles its sharpness", 2.0, minimum=0.0)
    autocontrast_probability: float = setting(
        "share of images stretched to full contrast in each epoch", 0.5, minimum=0.0, maximum=1.0
    )
    affine_probability: float = setting(
        "share of images turned, shifted and scaled at random in each epoch, within the next three limits; what comes"
        " in from outside is black. The paper has none; a training of few images overfits later with it",
        0.0,
        minimum=0.0,
        maximum=1.0,
    )
    affine_degrees: float = setting("largest turn, either way", 10.0, minimum=0.0, maximum=180.0, unit="degrees")
    affine_shift: float = setting("largest shift along each side, as a share of it", 0.1, minimum=0.0, maximum=0.5)
    affine_scale: float = setting("largest change of scale, as a share of 1", 0.1, minimum=0.0, maximum=0.5)
    transfer_learning_rate_scale: float = setting(
        "a transferred model's layers below its new head learn at this share of the learning rate, and the head at all"
        " of it; 1: no difference; 0: their weights are frozen",
        1.0,
        minimum=0.0,
        maximum=1.0,
    )
    precise_batch_norm_images: int = setting(
        "before each validation, BatchNorm's statistics are estimated anew from at most this many train images, with"
        " the weights as they are then; 0: running averages, which lag behind the weights",
        1024,
        minimum=0,
        unit="images",
    )
    batch_norm_momentum: float = setting(
        "BatchNorm momentum of every backbone. torchvision builds MobileNetV3 with 0.01, whose running statistics lag"
        " for hundreds of steps, so that early validation losses are noise",
        0.1,
        minimum=0.001,
        maximum=1.0,
    )


@dataclass(frozen=True)
class EvaluateSettings:
    """Predictions for the validation and the test images."""

    batch_size: int = setting("images at once", 64, minimum=1, unit="images")


@dataclass(frozen=True)
class ScoreSettings:
    """Metrics from saved predictions."""

    bootstrap_resamples: int = setting("resamples of patients for the 95 % intervals; 0: none", 2000, minimum=0)
    bootstrap_seed: int = setting("seed of the resampling", 0, minimum=0, maximum=MAX_SEED)


@dataclass(frozen=True)
class SelectSettings:
    """The choice of one model per dataset, on validation images."""

    margin: float = setting(
        "the fastest model is chosen whose validation macro F1 is shown to be less than this below the best's: the"
        " lower end of the one-sided 95 % interval of the difference, paired by patient, lies above -margin",
        0.02,
        minimum=0.0,
        maximum=1.0,
    )
    ensembles: bool = setting(
        "also choose among the ensembles of all seeds, one of each backbone and training: the mean of their"
        " probabilities, at the cost of as many networks",
        False,
    )
    flip: bool = setting(
        "also choose among models and ensembles that look at the mirror image, too: the mean of both answers, at twice"
        " the cost of the network",
        False,
    )


@dataclass(frozen=True)
class DeliverSettings:
    """What a delivered model says."""

    answered: float = setting(
        "share of images for which the delivered model names a class: it names none where the probability of the most"
        " probable one is below a threshold that as many of the validation images reach; 1: always",
        0.9,
        minimum=0.1,
        maximum=1.0,
    )


@dataclass(frozen=True)
class EmbedSettings:
    """The t-SNE map of the test features."""

    engine: str = setting(
        "scikit-learn, or the package openTSNE, which takes a quarter of the time at 8,000 images; the maps differ and"
        " preserve neighbours equally well",
        "sklearn",
        choices=("sklearn", "opentsne"),
    )
    perplexity: float = setting("t-SNE perplexity; lowered for a small test subset", 30.0, minimum=1.0)
    max_images: int = setting("at most this many test images, chosen at random", 5000, minimum=10, unit="images")
    seed: int = setting("seed of t-SNE and of that choice", 0, minimum=0, maximum=MAX_SEED)


@dataclass(frozen=True)
class ExplainSettings:
    """Maps of test images: Grad-CAM, or LayerCAM at an earlier layer where the last has under 7x7 cells."""

    engine: str = setting(
        "direct, or the package pytorch_grad_cam, whose maps differ by less than 1e-4 of their maximum and take longer",
        "direct",
        choices=("direct", "pytorch_grad_cam"),
    )
    images_per_class: int = setting(
        "test images in the gallery per class: as many right as wrong ones", 3, minimum=1, unit="images"
    )
    scored_images: int = setting(
        "at most this many annotated test images of each model are scored", 200, minimum=0, unit="images"
    )
    seed: int = setting("seed that chooses the images", 0, minimum=0, maximum=MAX_SEED)


@dataclass(frozen=True)
class SamplesSettings:
    """The pictures of the data: samples of each class, and images before and after preprocessing."""

    images_per_class: int = setting("images shown per class", 6, minimum=1, unit="images")
    seed: int = setting("seed that chooses the images", 0, minimum=0, maximum=MAX_SEED)


@dataclass(frozen=True)
class ProfileSettings:
    """The cost of a backbone: parameters, multiply-adds, latency."""

    repeats: int = setting(
        "timed answers to one X-ray by the exported network; their median is reported", 30, minimum=3
    )


@dataclass(frozen=True)
class TransferSettings:
    """The model of a dataset that is trained by transfer learning."""

    init: str = setting(
        "imagenet, from_<dataset> for the weights of this study's model of another dataset, or weights_<name> for a"
        " file of `weights`"
    )
    backbone: str = setting("the backbone that is transferred")


@dataclass(frozen=True)
class WeightsSettings:
    """A file of pretrained weights that models start from, as init: weights_<name>."""

    file: str = setting(
        "below weights_root: safetensors, or a state dict of PyTorch, which is read without running code in it"
    )
    sha256: str = setting("of that file, 64 hex digits")
    backbone: str = setting("whose weights they are")
    url: str = setting("where `snakemake weights` fetches it; empty: put it there by hand", "")
    part: str = setting("the entry of the file that holds the weights, such as state_dict; empty: the file itself", "")
    keys: dict[str, str] = setting(
        "regular expressions and what replaces their matches in the names of the weights, in this order, until they are"
        " those of torchvision or timm; what is empty then is left out, and x[0], x[1], ... are joined to x"
        " (config/weights.md has recipes)",
        dict,
    )
    mean: tuple[float, ...] = setting(
        "what the weights' owner subtracts from gray values of 0 to 1, one number or one per channel, before they are"
        " divided by `std`; the first layer is changed so that the same happens",
        IMAGENET_MEAN,
    )
    std: tuple[float, ...] = setting("see `mean`", IMAGENET_STD)
    head: str = setting(
        "trained: the whole network is trained, as in any transfer; probe: the network stays as it is, and a logistic"
        " regression on its features is the head, fitted in one pass",
        "trained",
        choices=("trained", "probe"),
    )
    trained_on: tuple[str, ...] = setting(
        "readers of the published sets whose images the weights have seen: a model of such a dataset, or of one that"
        " took images from it, may have seen its test images, and is marked",
        (),
    )
    licence: str = setting("under which the weights are given", "")
    citation: str = setting("what to cite for them, shown at the end of the page", "")


@dataclass(frozen=True)
class VariantSettings:
    """A named set of overrides: an ablation needs more variants, never new code.

    A list of values makes a grid, one variant of each value and named after it: of
    `lr: {train: {learning_rate: [3.0e-4, 1.0e-3]}}` these are `lr_0.0003` and `lr_0.001`; of several lists, of each
    combination.
    """

    preprocess: dict[str, Any] = setting("keys of `preprocess` to override", dict)
    train: dict[str, Any] = setting("keys of `train` to override", dict)


@dataclass(frozen=True)
class AblationSettings:
    """Which variants run in addition to the base models; any other can be requested by its file name."""

    variants: tuple[str, ...] = setting("names from `variants`; that of a grid stands for all of its variants", ())
    negative_controls: tuple[str, ...] = setting(
        "variants that run, too, and change nothing of note: if one is told from the base, the comparison sees what is"
        " not there",
        (),
    )
    positive_controls: tuple[str, ...] = setting(
        "variants that run, too, and must score lower: if one cannot be told from the base, neither can smaller"
        " changes",
        (),
    )
    datasets: tuple[str, ...] = setting("on these datasets; empty: all", ())
    backbones: tuple[str, ...] = setting("with these backbones, from scratch; empty: all", ())
    transferred: bool = setting(
        "also of each transferred model; a variant of train.transfer_learning_rate_scale alone is of these only",
        False,
    )


@dataclass(frozen=True)
class Range:
    """Numbers to try of one setting, from low to high, both included."""

    low: Any = setting("the least")
    high: Any = setting("the greatest")
    log: bool = setting("their logarithm is drawn evenly", False)


SAMPLERS = ("tpe", "random")


@dataclass(frozen=True)
class TuneSettings:
    """A search for better settings of one model, by validation macro F1; the name is that of the variant it ends in."""

    dataset: str = setting("the dataset that is searched on")
    backbone: str = setting("the backbone")
    init: str = setting("how each trial starts: scratch, imagenet or from_<dataset>", "scratch")
    space: dict[str, Any] = setting(
        "keys of `train` and `preprocess` with what is tried: a list, [16, 32, 64], or a range, {low: 1e-4, high: 1e-2,"
        " log: true}; a key of `preprocess` takes a list"
    )
    generations: int = setting(
        "how often new settings are asked, each time knowing what the ones before gave", 5, minimum=1
    )
    per_generation: int = setting("new trials in each generation; they train side by side", 4, minimum=1, unit="trials")
    rungs: tuple[int, ...] = setting(
        "epochs after which trials are compared (successive halving): the best go on, from where they stopped, to the"
        " next rung, as many fewer as it is longer. Empty: every trial trains train.epochs",
        (),
        minimum=1,
        unit="epochs",
    )
    sampler: str = setting(
        "tpe models which settings do well; random asks blindly, for comparison", "tpe", choices=SAMPLERS
    )
    seed: int = setting(
        "seed of the questions and of every trial's training; none of `seeds`, which train what was found anew",
        1000,
        minimum=0,
        maximum=MAX_SEED,
    )


@dataclass(frozen=True)
class StudySettings:
    """A study: which models are trained on which data, and how."""

    study: str = setting("name of the study; its results go to results/<study>/")
    data_root: str = setting("folder that holds the datasets' folders", "data")
    weights_root: str = setting(
        "folder for ImageNet weights, filled once for all studies; each keeps a copy of what its models start from",
        "data/weights",
    )
    weights_url: str = setting("where ImageNet weights are fetched from", "https://download.pytorch.org/models")
    datasets: dict[str, DatasetSettings] = setting("the datasets, by name")
    leave_out: tuple[str, ...] = setting(
        "what the study goes without: datasets, by name, with their models and the models that start from theirs; or"
        " `unfinished`, every model that is not finished, for a page of what is done after a job has failed. The page"
        " says what is missing and why",
        (),
    )
    backbones: tuple[str, ...] = setting("the backbones", ("mobilenet_v3_large", "efficientnet_b1", "resnet34"))
    seeds: tuple[int, ...] = setting("every model is trained once per seed", (0,), minimum=0, maximum=MAX_SEED)
    transfer: dict[str, tuple[TransferSettings, ...]] = setting(
        "the transferred model of each dataset, or a list of several", dict
    )
    weights: dict[str, WeightsSettings] = setting("files of pretrained weights, by name", dict)
    transfer_all_backbones: bool = setting(
        "transfer every backbone, not just the named one: eighteen models instead of twelve", False
    )
    phantoms: PhantomSettings | None = setting(
        "synthesise the three datasets instead of reading them from data_root", None
    )
    strict: bool = setting(
        "stop where a caution is a serious concern, such as a probe that tells the classes without the lungs; otherwise"
        " the page says so and the study goes on",
        False,
    )
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    index: IndexSettings = field(default_factory=IndexSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    preprocess: PreprocessSettings = field(default_factory=PreprocessSettings)
    samples: SamplesSettings = field(default_factory=SamplesSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    select: SelectSettings = field(default_factory=SelectSettings)
    deliver: DeliverSettings = field(default_factory=DeliverSettings)
    embed: EmbedSettings = field(default_factory=EmbedSettings)
    explain: ExplainSettings = field(default_factory=ExplainSettings)
    profile: ProfileSettings = field(default_factory=ProfileSettings)
    variants: dict[str, VariantSettings] = setting("named overrides", dict)
    ablation: AblationSettings = field(default_factory=AblationSettings)
    tune: dict[str, TuneSettings] = setting("searches for better settings, by name", dict)
