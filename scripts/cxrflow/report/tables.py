"""Every table as data: add an entry and it is written, tested, and can be shown in a section of the page.

A row's numbers come from a function of `compare` or `checks`, named as "module:function" so that a plan, which reads
this module, imports none of them.

Every column of numbers says in `interval` how sure they are (a test walks TABLES):

    Column("macro_f1", "Macro F1 (95 % interval)", "score", interval=True)   # the rows have macro_f1_low and _high too
    Column("gmac", "GMAC", "amount", EXACT)                                  # counted, set, published or defined
    Column("val_loss", "Val. loss", "loss", "of one training, as it was")    # none is possible: why, for the reader
"""

from dataclasses import dataclass

from cxrflow.config.probes import BASELINES, SHORTCUTS

EXACT = "exact"  # counted, set, published or defined: the same study on other patients or another machine has it too


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    key: str  # name in the CSV
    title: str  # heading for people, with the unit
    kind: str = "text"  # a key of KINDS
    # True: two more CSV columns, {key}_low and {key}_high, shown behind the value in brackets. EXACT: needs none. Other
    # words: why there is none, which stands below the table. Only text has False.
    interval: bool | str = False
    patients: bool = False  # one more CSV column, {key}_n_patients: of the smallest class; few of them are flagged
    # To people `always`, `if_varied` (only where rows differ in it), `if_any` (only where one row has it) or `never`;
    # the CSV always has it.
    shown: str = "always"
    width_cm: float | None = None  # LaTeX breaks the text into lines of this width; None: one line

    @property
    def keys(self) -> list[str]:
        """The CSV columns."""
        ends = ("_low", "_high") * (self.interval is True) + ("_n_patients",) * self.patients
        return [self.key, *(f"{self.key}{end}" for end in ends)]


@dataclass(frozen=True)
class MetricColumns:
    """Stands for one column per entry of METRICS, with its interval: those of each class, or those of all classes."""

    per_class: bool


@dataclass(frozen=True)
class Table:
    """What a table is called, what its columns are, and who makes its rows."""

    title: str  # above the table
    note: str  # below it: what the numbers are
    columns: tuple[Column | MetricColumns, ...]  # in order; `tabular.list_columns` puts the metrics in
    rows: str  # "module:function"; the function gives all rows from the collected results
    empty: str = "This study has nothing to show here."  # stands in for a table without rows
    says: str = ""  # "module:function"; the function says in words what the rows carry, above the table on the page


def numbers(kind: str = "count", interval: bool | str = False, /, **titles: str) -> tuple[Column, ...]:
    """Return one column of a kind per key; counts are exact."""
    sure = interval or (EXACT if kind == "count" else False)
    return tuple(Column(key, title, kind, sure) for key, title in titles.items())


def score(key: str, title: str, kind: str = "score", shown: str = "always") -> Column:
    """Return the column of a score of models with its interval; the rows have it from `rows.estimate_columns`."""
    return Column(key, f"{title} (95 % interval)", kind, interval=True, patients=True, shown=shown)


ONE_TRAINING = "of one training, on the validation images that chose its epoch"
SEEN_SEEDS = "of these seeds alone"
BESIDE = "that of the difference stands beside it"
ON_MACHINES = "of these trainings, on the machines that made them"

DATASET = Column("dataset", "Dataset")
PUBLISHED = Column("n_published", "Published", "count", EXACT, shown="if_any")
BACKBONE = Column("backbone", "Backbone")
MODEL = (
    DATASET, BACKBONE, Column("init", "Training"), Column("variant", "Variant", shown="if_varied"),
    Column("seed", "Seed", "count", EXACT, shown="if_varied"),
)  # fmt: skip
PATH = Column("model", "Model", shown="never")
CAUTION = Column("caution", "Caution", shown="if_any")
PAIRED = (Column("n_seeds", "Seeds", "count", EXACT, shown="if_varied"), *numbers(n_patients="Test patients"))
P_VALUES = (
    Column("p", "Swap test: p", "p", "a share of rearrangements, of which 9,999 were made"),
    Column("p_holm", "Corrected p", "p", "it says itself how sure a difference is"),
)
P_NOTE = (
    " p: swapping the predictions of whole patients. Corrected p: of that and of the p at which the interval ends at"
    " zero the larger, corrected for"
)
DIFFERENCE = Column("difference", "Difference (95 % interval)", "difference", interval=True, patients=True)

TABLES: dict[str, Table] = {
    "datasets": Table(
        "Table 1a. Datasets: images kept and left out",
        "Published: the whole published set after the same selection rule. Not selected: found and left out by it."
        " Label conflicts: equal pixels with different labels. Capped: beyond the settings' most images per class. File"
        " missing: in the dataset's own list but not on disk. A group of duplicates, whose decoded pixels are equal,"
        " is in one subset; resized or recompressed copies are found by another search (Checks)."
        " Split: by seed, whole patients and stratified by class, or as the dataset's owners publish it.",
        (
            DATASET,
            PUBLISHED,
            *numbers(n_images="Kept here", n_patients="Patients"),
            Column("split", "Split"),
            *numbers(n_train="Train", n_val="Val", n_test="Test", n_test_patients="Test patients"),
            *numbers(n_selection="Not selected", n_unreadable="Unreadable", n_conflict="Label conflicts"),
            *numbers(n_cap="Capped", n_listed_missing="File missing", n_duplicate_groups="Duplicate groups"),
        ),
        "cxrflow.compare.rows:dataset_rows",
    ),
    "classes": Table(
        "Table 1b. Images by class and subset",
        "A split by seed is by patient and stratified by class, so its shares are close to the settings, not the same;"
        " a published one has its own.",
        (
            DATASET,
            Column("class", "Class"),
            PUBLISHED,
            *numbers(n_images="Kept here"),
            Column("share", "Share", "share", EXACT),
            *numbers(n_train="Train", n_val="Val", n_test="Test", n_test_patients="Test patients"),
        ),
        "cxrflow.compare.rows:class_rows",
    ),
    "rejects": Table(
        "Table 1c. Images that were found and left out, and why",
        "Each of them is named in rejects.csv of its dataset.",
        (DATASET, Column("kind", "Kind"), Column("reason", "Reason", width_cm=8), *numbers(n_images="Images")),
        "cxrflow.compare.rows:reject_rows",
        empty="Every image that was found is used.",
    ),
    "notes": Table(
        "Table 1d. What was chosen, passed over or joined",
        "Where a folder leaves a choice, this is what was done with it; the log of the index says the same.",
        (DATASET, Column("note", "Note", width_cm=13)),
        "cxrflow.compare.rows:note_rows",
        empty="The datasets left nothing to choose.",
    ),
    "backbones": Table(
        "Table 2. Backbones: measured here, and the paper's figures",
        "Parameters are of the 1000-class network. GMAC: multiply-adds of one forward pass, in 1e9. The paper's FLOPS"
        " column fits no single setting exactly; a batch of 32 images at 256x256 px is closest, so ours is given for"
        " that batch where the study's images have that size. ImageNet accuracy is torchvision's, top-5, of the weights"
        " that transfer starts from. Layers: convolutions and linear layers, those in shortcuts and"
        " squeeze-and-excitation included; the paper counts otherwise, and has no figures where there is a dash."
        " Latency: from a 1024 px PNG to its answer by the network as it is delivered (ONNX Runtime): processor time of"
        " one CPU core, median of repeated answers, with the interval of the median. Energy: of the whole GPU while it"
        " predicted, by its own counter (NVML), where it has one.",
        (
            BACKBONE,
            Column("params_m", "Params, M", "score", EXACT),
            Column("paper_params_m", "Paper: params, M", "tenths", EXACT),
            *numbers(layers="Layers", paper_layers="Paper: layers", size_px="Image side, px"),
            Column("gmac", "GMAC, 1 image", "amount", EXACT),
            Column("gmac_batch", "GMAC, 32 images", "tenths", EXACT),
            Column("paper_gflops", "Paper: GFLOPS", "tenths", EXACT),
            Column("imagenet_top5", "ImageNet top-5, %", "tenths", EXACT),
            Column("latency_ms", "Latency, ms (95 % interval)", "amount", interval=True),
            Column("device", "Measured on", shown="if_varied"),
            Column("energy", "Energy of an image, J"),
        ),
        "cxrflow.compare.rows:backbone_rows",
    ),
    "models": Table(
        "Table 3. All models on the test images, and what they have to beat",
        "Macro F1, accuracy and AUROC are on test images that neither training nor the choice of the epoch has seen;"
        " intervals are over test patients (Wilson's, with the effective number of images that a bootstrap over"
        " patients shows) and do not show how another training would differ."
        " Baselines, without a network, fitted on the same train images: "
        + " ".join(f"{probe.title}: {probe.note[0].lower()}{probe.note[1:]}" for probe in BASELINES.values())
        + " Above the thumbnail: whether the paired difference is clear of zero, corrected for all models of the"
        " dataset (Holm)."
        " Chance: the best macro F1 that guessing without looking at the image can expect. Loss: on validation, of"
        " the epoch that is kept. Seconds per epoch: median over the epochs, training and validation, with the"
        " interval of the median. GMAC and latency are of the backbone, for one X-ray, as in Table 2.",
        (
            *MODEL,
            MetricColumns(per_class=False),
            Column("over_thumbnail", "Minus the thumbnail's (95 % interval)", "difference", interval=True),
            Column("above_thumbnail", "Above the thumbnail?"),
            Column("chance_macro_f1", "Chance macro F1", "score", EXACT),
            Column("val_loss", "Val. loss", "loss", ONE_TRAINING),
            Column("epoch_kept", "Epoch kept", "count", ONE_TRAINING),
            Column("epochs", "Epochs", "count", EXACT, shown="if_varied"),
            Column("epoch_seconds", "s per epoch", "amount", interval=True),
            Column("images_per_s", "Images/s", "amount", interval=True, shown="never"),
            *numbers("amount", EXACT, params_m="Params, M", gmac="GMAC"),
            Column("latency_ms", "Latency, ms", "amount", interval=True),
            CAUTION,
            PATH,
        ),
        "cxrflow.compare.baselines:scored_rows",
    ),
    "seeds": Table(
        "Table 4. Spread over seeds",
        "The same model trained once per seed: mean, standard deviation and range of macro F1 on the same test images."
        " This is how much one training differs from another; the interval of the SD is over trainings (chi-square),"
        " that of the mean over test patients and trainings. The variance of the mean is that of the trainings, which"
        " more seeds lower, and that of the test patients, which they do not; the seeds' share needs three.",
        (
            *MODEL[:4],
            Column("n_seeds", "Seeds", "count", EXACT),
            score("macro_f1_mean", "Macro F1, mean"),
            Column("macro_f1_sd", "SD (95 % interval)", "loss", interval=True),
            Column("seed_share", "Seeds' share of the mean's variance (95 % interval)", "share", interval=True),
            *numbers("score", SEEN_SEEDS, macro_f1_min="Lowest", macro_f1_max="Highest"),
            Column("epoch_kept_mean", "Epoch kept, mean", "amount", SEEN_SEEDS),
        ),
        "cxrflow.compare.paired:seed_rows",
        empty="Every model was trained with one seed, so how much one training differs from another is not known here.",
    ),
    "explanations": Table(
        "Table 5. Where the maps of the true class fall on annotated test images",
        "Maps: how, at which layer, and how many cells are enlarged to the image; under 7x7 none is scored. Each is of"
        " the image's true class; images predicted right and wrong apart. Inside: share of the heat in the region."
        " Pointing: how often the hottest point lies inside; where several are, the share of them. Area: the region's"
        " share of the image, which evenly spread heat, and that of random maps on average, has inside. Random: 1,000"
        " random maps of as many cells, enlarged and read alike. Fixed place: the mean region of the images that"
        " the model was fitted on, the same for every image. In words: better where the whole interval of a difference"
        " is above 0, else no better; of 40 such differences without any effect, one is expected to look better. Better"
        " does not show that a model uses what it points at: on small images, networks trained on shuffled labels and"
        " untrained ones point at a conspicuous mark too.",
        (
            *MODEL,
            Column("region", "Region"),
            Column("predicted", "Predicted"),
            *numbers(n_images="Images", n_patients="Patients"),
            score("inside_share_uniform", "Area"),
            score("inside_share", "Inside"),
            score("inside_share_random", "Inside, random", shown="never"),
            score("inside_share_fixed", "Inside, fixed place", shown="never"),
            score("inside_share_gain", "Inside, minus random", "difference"),
            score("hit", "Pointing"),
            score("hit_random", "Pointing, random"),
            score("hit_fixed", "Pointing, fixed place"),
            score("hit_gain", "Pointing, minus random", "difference"),
            score("hit_fixed_gain", "Pointing, minus fixed place", "difference"),
            Column("verdict", "In words", width_cm=3),
            Column("maps", "Maps", width_cm=3),
            PATH,
        ),
        "cxrflow.compare.explanations:explanation_rows",
        empty="No lesions or lungs are annotated on these test images, so the explanations are not scored.",
    ),
    "per_class": Table(
        "Table 6. Scores by class",
        "On the test images; Images is how many of them are of the class, Patients how many people's they are. A score"
        " rests on the patients of the class; precision on those who are predicted to be of it; AUROC on those of the"
        " other classes too. Intervals as in Table 3.",
        (
            *MODEL,
            Column("class", "Class"),
            *numbers(support="Images", n_patients="Patients"),
            MetricColumns(per_class=True),
            PATH,
        ),
        "cxrflow.compare.rows:per_class_rows",
    ),
    "standings": Table(
        "Table 3a. Which backbone: the standing of each, from scratch",
        "Macro F1 on the test images, mean over seeds. Rank: by that mean, from 1 plus how many are clearly above to"
        " how many there are minus how many are clearly below, by the pairs of Table 3b; all ranks of a dataset"
        " together are inside in 95 % of studies. Among the best: none is clearly above it. With one seed a standing is"
        " of these trainings, not of the backbones.",
        (
            DATASET,
            BACKBONE,
            Column("n_seeds", "Seeds", "count", EXACT),
            score("macro_f1", "Macro F1"),
            Column("rank", "Rank (95 % interval)", "count", interval=True),
            Column("below", "Clearly below", width_cm=4),
            Column("among_best", "Among the best?"),
        ),
        "cxrflow.compare.backbones:standing_rows",
        empty="Fewer than two backbones were trained from scratch on one dataset, so there is none to compare.",
    ),
    "backbones_paired": Table(
        "Table 3b. Which backbone: all pairs, from scratch, on the same test patients",
        "First minus second, mean over seeds. The interval is from a bootstrap that resamples the same patients for"
        " both, and with several seeds the trainings, too; with one seed it says how sure these trainings differ, not"
        f" the backbones.{P_NOTE} the pairs of a dataset (Holm)."
        " Detectable: the true difference that such a test sees in 80 of 100 studies, 2.8 standard errors.",
        (
            DATASET,
            Column("backbone", "First"),
            Column("other", "Second"),
            Column("init", "Training", shown="if_varied"),
            *PAIRED,
            score("macro_f1", "First: macro F1"),
            score("macro_f1_other", "Second: macro F1"),
            DIFFERENCE,
            *P_VALUES,
            Column("verdict", "Verdict"),
            Column("detectable", "Detectable", "score", "of this test, as its resamples vary"),
        ),
        "cxrflow.compare.backbones:backbone_rows",
        empty="Fewer than two backbones were trained from scratch on one dataset, so there is no pair.",
    ),
    "transfer": Table(
        "Table 7. Transfer against training from scratch",
        "Transfer minus scratch, same dataset, backbone, settings and test images. The interval is of the difference,"
        " from a bootstrap that resamples the same test patients for both models, and with several seeds the trainings."
        f"{P_NOTE} all rows (Holm).",
        (
            *MODEL[:3],
            *PAIRED,
            score("macro_f1_scratch", "Scratch: macro F1"),
            score("macro_f1", "Transfer: macro F1"),
            DIFFERENCE,
            *P_VALUES,
            CAUTION,
        ),
        "cxrflow.compare.paired:transfer_rows",
        empty="No transferred model has a twin from scratch in this study, so there is nothing to compare.",
    ),
    "ablation": Table(
        "Table 8. Ablation: each variant against the study's settings",
        "Variant minus base, same dataset, backbone and test images; interval and p as for transfer, corrected for the"
        " variants of a dataset and backbone (Holm). In words: macro F1, by the corrected p, at 5 %. Log loss:"
        " of the test images, lower is better, after calibration on the validation images, without which losses of"
        " other class weights cannot be compared; its interval is not corrected. Negative control:"
        " changes nothing of note, and must not differ; positive control: must score lower. Train: seconds of all"
        " epochs, mean over seeds. GMAC: multiply-adds of one image; a dash where the image size is not the study's.",
        (
            *MODEL[:3],
            Column("variant", "Variant"),
            Column("change", "What differs", width_cm=4),
            Column("control", "Control", shown="if_any"),
            *PAIRED,
            score("macro_f1_base", "Base: macro F1"),
            score("macro_f1", "Variant: macro F1"),
            DIFFERENCE,
            *P_VALUES,
            Column("verdict", "In words"),
            *numbers("loss", BESIDE, log_loss_base="Base: log loss", log_loss="Variant: log loss"),
            Column(
                "log_loss_difference",
                "Log loss: difference (95 % interval)",
                "difference",
                interval=True,
                patients=True,
            ),
            *numbers("amount", ON_MACHINES, base_seconds="Base: train, s", train_seconds="Variant: train, s"),
            *numbers("amount", EXACT, base_gmac="Base: GMAC", gmac="Variant: GMAC"),
        ),
        "cxrflow.compare.ablation:ablation_rows",
        empty="This study trains no variants: name some under ablation in the config to see what a setting is worth.",
        says="cxrflow.compare.ablation:describe_ablation",
    ),
    "learning": Table(
        "Table 8b. Learning curve: macro F1 by the number of train images",
        "The same settings on growing parts of the train images, whole patients, each part of every larger one; the"
        " test images are the same. Intervals over patients and trainings. The law: ceiling - loss * images ** -rate,"
        " fitted to at least four sizes of three seeds (Hestness 2017); its interval is over refits to resamples of"
        " patients and trainings; that other laws may hold is not in it. Nothing is said beyond twice the images.",
        (
            *MODEL[:3],
            Column("share", "Share of the train images", "share", EXACT),
            *numbers(n_train="Train images", n_seeds="Seeds"),
            Column("source", "Source"),
            score("macro_f1", "Macro F1"),
        ),
        "cxrflow.compare.learning:learning_rows",
        empty="No model was trained on part of the train images (train.train_share), so there is no learning curve.",
        says="cxrflow.compare.learning:describe_learning",
    ),
    "choice": Table(
        "Table 9. Which model to take: chosen on validation, reported on test",
        "Best: the highest validation macro F1. Chosen: the fastest model that is not inferior to any other candidate:"
        " the one-sided 95 % lower bound of its difference to each, paired on the same validation patients, lies above"
        " the margin (select.margin), corrected for all candidates (Holm); the best where there is none. Of equally"
        " fast ones the higher score, then fewer parameters. The test images have no part in the choice. The validation"
        " images have also chosen each model's epoch, which flatters their scores. Latency is of one X-ray, from its"
        " file to its answer. Models that may have seen test images are not candidates.",
        (
            DATASET,
            Column("best", "Best", width_cm=4),
            score("best_val_macro_f1", "Its validation macro F1"),
            Column("best_latency_ms", "Latency, ms (95 % interval)", "amount", interval=True),
            Column("chosen", "Chosen", width_cm=4),
            score("val_macro_f1", "Its validation macro F1"),
            Column("difference", "Difference to the best", "difference", "a one-sided bound stands beside it"),
            Column("difference_bound", "Lower bound to any other", "difference", "it is itself the end of one"),
            Column("latency_ms", "Latency, ms (95 % interval)", "amount", interval=True),
            score("macro_f1", "Test macro F1"),
            PATH,
        ),
        "cxrflow.compare.choice:choice_rows",
        empty="No model can be chosen: every candidate may have seen test images, or none was trained.",
    ),
    "candidates": Table(
        "Table 9a. The candidates, and what they cost",
        "Models and, where the config says so (select.ensembles, select.flip), the mean of the probabilities of all"
        " seeds, and of the answers for an image and its mirror image. A model's score is the mean over its seeds, with"
        " its interval over patients and seeds; an ensemble is one, with an interval over patients alone, which does"
        " not show how one of other seeds would score. Standing: not inferior to any other candidate, which the highest"
        " score always is. Latency is measured with all networks and mirror images in one exported graph. Parameters"
        " and size are those of all networks; GMAC and energy are those of one network, as often as there are networks"
        " and mirror images. Energy: that of the whole GPU while it predicted, by its own counter; it decides nothing.",
        (
            DATASET,
            Column("candidate", "Candidate", width_cm=5),
            Column("standing", "Standing"),
            score("val_macro_f1", "Validation macro F1"),
            Column("difference", "Difference to the best", "difference", "a one-sided bound stands beside it"),
            Column("difference_bound", "Lower bound to any other", "difference", "it is itself the end of one"),
            Column("latency_ms", "Latency, ms (95 % interval)", "amount", interval=True),
            *numbers("amount", EXACT, gmac="GMAC", params_m="Params, M", weights_mib="Size, MiB"),
            Column("energy", "Energy, J"),
            Column("energy_j", "Energy, J", "amount", "of the whole GPU", shown="never"),
            score("macro_f1", "Test macro F1"),
            PATH,
        ),
        "cxrflow.compare.choice:candidate_rows",
        empty="There is no candidate: every model may have seen test images, or none was trained.",
    ),
    "calibration": Table(
        "Table 9b. Calibration and abstention: fitted on validation, measured on test",
        "As trained: the softmax of the network. Calibrated, on the validation images: class weights of the loss taken"
        " back, then one temperature (above 1: the network was too sure) and, from 30 validation patients of each class"
        " on, a bias. Log loss and Brier score are means over test images. Calibration error: debiased, class-wise; a"
        " perfectly calibrated model would show up to `by chance` in 95 of 100 such tests, and as much as this one in"
        " the share p. Answered: test images whose most probable class reaches the threshold; error among them beside"
        " that of all; AURC: mean error over all thresholds.",
        (
            *MODEL,
            *numbers(n_val_patients="Val patients, smallest class"),
            Column("bias", "Bias fitted"),
            Column("temperature", "Temperature", "amount", "of these validation images"),
            Column("log_loss_raw", "Log loss as trained (95 % interval)", "loss", interval=True),
            Column("log_loss", "Calibrated", "loss", interval=True),
            Column("log_loss_change", "Change", "difference", interval=True),
            Column("brier_raw", "Brier as trained", "loss", interval=True, shown="never"),
            Column("brier", "Brier, calibrated", "loss", interval=True),
            Column("error_raw", "Calibration error as trained", "loss", "what chance makes stands beside it"),
            Column("error", "Calibrated: error", "loss", "what chance makes stands beside it"),
            Column("error_by_chance", "By chance", "loss", "it is itself the end of one"),
            Column("p", "P value", "p", "a share of 999 drawn sets of labels"),
            Column("threshold", "Threshold", "score", "of these validation images"),
            Column("coverage", "Answered", "share", interval=True),
            Column("risk", "Error among them", "share", interval=True),
            Column("risk_of_all", "Error of all", "share", interval=True),
            Column("aurc", "AURC", "loss", interval=True),
            PATH,
        ),
        "cxrflow.compare.reliability:calibration_rows",
    ),
    "checks": Table(
        "Table 10. Checks: the paper's claims, and what could weaken this study's numbers",
        "A claim holds or does not hold only where the numbers show it; everything else cannot be determined here."
        " Those that are tests are judged together at 5 % (Holm); one judged at 0.5 % has intervals of 99.5 %. A check"
        " that could not run says so and counts as nothing.",
        (
            Column("kind", "Kind"),
            Column("question", "Claim or question", width_cm=4),
            Column("verdict", "Verdict", width_cm=2),
            Column("text", "Answer", width_cm=9),
            Column("details", "Details", shown="never"),
            Column("remedy", "What can be done", width_cm=4),
            Column("check", "Check", shown="never"),
            Column("level", "Level", shown="never"),
            Column("value", "Value", "amount", interval=True, shown="never"),
            Column("threshold", "Threshold", "amount", EXACT, shown="never"),
            Column("alpha", "Judged at", "amount", EXACT, shown="never"),
        ),
        "cxrflow.checks.registry:check_rows",
    ),
    "shortcuts": Table(
        "Table 11. Shortcut gate: what tells the classes without the lungs",
        "Each probe is fitted on the train images and must not work: "
        + " ".join(f"{probe.title}: {probe.note[0].lower()}{probe.note[1:]}" for probe in SHORTCUTS.values())
        + " Reach: the probe's gain over chance as a share of the gain of the model chosen on validation images, on the"
        " same test patients. No concern: its interval ends below 25 %; serious concern: it begins above 50 %; between"
        " them, take care. What was not run counts as nothing, never as no concern. A probe that works shows what a"
        " model could use, not that it does.",
        (
            DATASET,
            Column("probe", "Probe"),
            score("macro_f1", "Probe's macro F1"),
            score("model_macro_f1", "Model's macro F1"),
            Column("reach", "Reach (95 % interval)", "share", interval=True, patients=True),
            Column("verdict", "Verdict"),
            Column("reason", "Why none", shown="if_any"),
            Column("lungs", "How the lungs were found", shown="if_any"),
            Column("level", "Level", shown="never"),
            PATH,
        ),
        "cxrflow.checks.cautions_shortcuts:shortcut_rows",
    ),
}
