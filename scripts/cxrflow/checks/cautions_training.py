"""Cautions about how models were trained and tested: what their scores and intervals do not cover."""

from collections.abc import Mapping

from cxrflow.checks.verdicts import FAIL, PASS, UNKNOWN, WARN, Verdict, check
from cxrflow.compare.collect import DatasetResult, Results
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.layout import SCRATCH
from cxrflow.config.made import describe_differences
from cxrflow.files.formats import count_words, join_words
from cxrflow.files.openings import Opening


@check("caution", "Is this more than a quick look?", needs=("training",))
def quick_look(results: Results) -> Verdict:
    """A study trained on a CPU alone is a small one."""
    if not all(model.training["device"] == "cpu" for model in results.models):
        return Verdict(PASS, "Yes: models were trained on a GPU.")
    epochs = " or ".join(map(str, sorted({model.training["epochs"] for model in results.models})))
    size_px = results.study.settings.preprocess.size_px
    return Verdict(
        WARN,
        f"No: everything was trained on a CPU, for {epochs} epochs at {size_px}x{size_px} px. Longer training on larger"
        " images may change the scores and their order.",
        remedy="Train on a GPU with the settings of config/lungs.yaml.",
    )


@check("caution", "Is the whole study here?")
def whole_study(results: Results) -> Verdict:
    """What is left out or did not finish, and why."""
    n_all = len(results.models) + len(results.missing)
    if not results.missing:
        return Verdict(PASS, f"Yes: all of its models ({n_all}).")
    groups: dict[tuple[str, str], list[str]] = {}
    for model, why in results.missing.items():
        groups.setdefault((results.dataset_title(model.dataset), why), []).append(results.study.model_title(model))
    listed = [
        f"{names[0] if len(names) == 1 else f'{len(names)} models on {title}'}: {why.rstrip('.')}."
        for (title, why), names in groups.items()
    ]
    return Verdict(
        WARN,
        f"No: {len(results.missing)} of its {n_all} models are missing. {' '.join(listed)}",
        value=len(results.missing),
        threshold=0,
        remedy="Mend what stopped, then run the same command without leave_out.",
    )


@check("caution", "Was everything made with the settings of the config?", needs=("index", "split", "metrics"))
def settings_of_files(results: Results) -> Verdict:
    """Without its folder .snakemake, Snakemake does not notice that a setting has changed."""
    differences = describe_differences(results.made)
    if not differences:
        return Verdict(PASS, "Yes, as far as the files have a record of it.")
    return Verdict(
        WARN,
        f"No: {differences}. The page says what the files were made with, not what the config says now.",
        remedy="Make them again (`snakemake ... -R index train score`), or put the settings back.",
    )


@check("caution", "Can a transferred model have seen test images?", needs=("index", "copies", "split"))
def transfer_leak(results: Results) -> Verdict:
    """A model that starts from another dataset's may have met test images there: counted, and as is known."""
    pairs = {(m.id.init, m.id.dataset): m.id for m in results.models if results.seen_test.is_possible(m.id)}
    if not pairs:
        return Verdict(
            PASS,
            "No, as far as is known: no test image is one, or a copy of one, of those that trained the model that its"
            " own starts from, nor is one of the same patient; and these published datasets are not known to share"
            " images whose patients nobody can tell.",
        )
    counts = {pair: results.seen_test.count(model) for pair, model in pairs.items()}
    listed = []
    for (init, dataset), n_seen in counts.items():
        which = f"the model for {results.dataset_title(dataset)} that starts {results.study.init_title(init)}"
        n_test = sum(results.datasets[dataset].counts["test"].values())
        measured = (
            f"starts from one that has seen {n_seen:,} of its {n_test:,} test images, or other images of the patients"
        )
        known = results.study.list_reasons(pairs[init, dataset])
        listed.append(f"{which} {measured if n_seen else f'may have, because {join_words(known)}'}")
    return Verdict(
        FAIL if any(counts.values()) else WARN,
        f"Yes: {join_words(listed)}. Its gain is not to be trusted, and it is not a candidate for the choice.",
        value=max(counts.values()),
        threshold=0,
        remedy="Start it from ImageNet, or from a dataset without common images.",
    )


@check("caution", "What do the intervals cover?")
def intervals(results: Results) -> Verdict:
    """Test patients only, never the luck of a training."""
    resamples = results.study.settings.score.bootstrap_resamples
    if not resamples:
        return Verdict(
            WARN,
            "There are none (score.bootstrap_resamples is 0), so any difference may be chance.",
            remedy="Set score.bootstrap_resamples to 2000; nothing is trained again.",
        )
    spread = (
        "How much one training differs from another is in the table of seeds."
        if len(results.study.settings.seeds) > 1
        else "Each model was trained once: how much one training differs from another is not in them."
    )
    return Verdict(
        WARN,
        f"Test patients only: brackets are 95 % intervals from {resamples:,} bootstrap resamples of the test patients."
        f" {spread} The model with the highest of several scores on the same test images looks a little better than it"
        " is.",
    )


@check("caution", "Are validation and test kept apart?")
def validation_and_test(results: Results) -> Verdict:
    """Which images choose, and which are scored."""
    return Verdict(
        PASS,
        "Yes: losses and curves are on validation images, which choose the epoch that is kept and the model that is"
        " recommended; all scores are on test images, which choose nothing.",
    )


@check("caution", "What does a transferred model learn, and at what rate?")
def transfer_rates(results: Results) -> Verdict:
    """Transfer is a family of procedures: the one that was used is said, and that at the scratch rate is a caution."""
    train = results.study.settings.train
    rate, scale = train.learning_rate, train.transfer_learning_rate_scale
    if all(model.id.init == SCRATCH for model in results.base_models):
        return Verdict(PASS, "No model of this study is transferred.")
    head = f"The new head learns at up to {rate:g}"
    if scale == 0:
        return Verdict(PASS, f"{head}, and nothing else does: all other weights are frozen.", value=scale)
    if scale < 1:
        return Verdict(PASS, f"{head}, all other layers at up to {scale * rate:g}; nothing is frozen.", value=scale)
    return Verdict(
        WARN,
        f"All layers learn at up to {rate:g}, as from scratch, and nothing is frozen: one way of transfer, which may"
        " undo much of what the layers bring.",
        value=scale,
        remedy="Compare a variant with train.transfer_learning_rate_scale 0.1 or 0.",
    )


@check("caution", "Are the networks as torchvision builds them?")
def batch_norm(results: Results) -> Verdict:
    """One momentum of BatchNorm for all backbones is not every backbone's own; precise statistics depend on none."""
    settings = results.study.settings.train
    momentum, precise = settings.batch_norm_momentum, settings.precise_batch_norm_images
    if precise:
        return Verdict(
            PASS,
            f"Yes. BatchNorm's statistics are estimated anew before each validation, from at most {precise:,} train"
            " images (Wu & Johnson 2021): its momentum decides nothing.",
            value=precise,
        )
    built = [BACKBONES[name] for name in results.backbones]
    changed = [b for b in built if b.batch_norm_momentum not in (momentum, None)]
    if not changed:
        return Verdict(PASS, "Yes, BatchNorm's momentum included.", value=momentum)
    names = join_words([f"{b.title} ({b.batch_norm_momentum:g})" for b in changed])
    return Verdict(
        WARN,
        f"All but BatchNorm's momentum: it is {momentum:g} in every backbone, while torchvision builds {names}. With"
        " 0.01 the running statistics lag for hundreds of training steps, and early validations are noise.",
        value=momentum,
    )


@check("caution", "Was each model tested once only?", needs=("predictions", "probes"))
def reused_test(results: Results) -> Verdict:
    """A model that is changed after its test score was seen is fitted to the test images, and the score flatters it."""
    titles = {model.id.path: results.study.model_title(model.id) for model in results.models}
    counts, reused, unrecorded = list[str](), dict[str, int](), set(titles)
    for dataset in results.datasets.values():
        weights: dict[str, set[str]] = {}  # of each model: the SHA-256 of every model.pt of it that was tested
        for opening in filter(_is_model, dataset.openings):
            weights.setdefault(opening.opener, set()).add(opening.opener_sha256)
        counts.append(_count_openings(dataset, titles))
        reused |= {titles.get(name, name): len(found) - 1 for name, found in weights.items() if len(found) > 1}
        unrecorded -= weights.keys()
    seen = f"The test images were opened by {join_words(counts)}."
    if reused:
        listed = [f"{name} (test reused {count_words(n, 'time')})" for name, n in reused.items()]
        return Verdict(
            WARN,
            f"No: other weights of the same model have been tested before, of {join_words(listed)}. If a test score had"
            f" a part in the change, the new one is too high. {seen}",
            value=max(reused.values()),
            threshold=0,
            remedy="Say so beside these scores, or test the final models on patients that no model was tested on.",
        )
    if unrecorded:
        return Verdict(
            UNKNOWN,
            f"Nobody knows: {count_words(len(unrecorded), 'model')} of this study left no record of being tested. An"
            f" earlier version of the workflow tested them, or the record was removed. {seen}",
            value=len(unrecorded),
            threshold=0,
        )
    return Verdict(PASS, f"Yes, each with one set of weights. {seen}", value=0, threshold=0)


def _is_model(opening: Opening) -> bool:
    """A stage that opens the test rows for no model, such as `probe`, has a name without folders."""
    return "/" in opening.opener


def _count_openings(dataset: DatasetResult, titles: Mapping[str, str]) -> str:
    """Say how many models have opened the test images of a dataset, and how often, those that are gone among them."""
    models = {opening.opener for opening in filter(_is_model, dataset.openings)}
    others = sorted({opening.opener for opening in dataset.openings} - models)
    gone = len(models - titles.keys())
    names = [f"{count_words(len(models), 'model')}{f' ({gone} not in this study any more)' * bool(gone)}", *others]
    subsets = len({opening.test_sha256 for opening in dataset.openings})
    splits = f" and over {subsets} splits" * (subsets > 1)
    return f"{join_words(names)} for {dataset.title}, {count_words(len(dataset.openings), 'time')} in all{splits}"
