# All models together: the cost of the backbones, checks, tables and figures, the page.


rule profile_backbone:
    output:
        profile=LAYOUT.backbone("{backbone}"),
    log:
        LAYOUT.backbone("{backbone}").with_suffix(".log"),
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    resources:
        gpu=min(1, COMPUTE.requested_gpus),
        device=COMPUTE.device,
    params:
        preprocess=as_is(settings_json(STUDY.settings.preprocess)),
        batch_size=STUDY.settings.train.batch_size,
        precision=STUDY.settings.train.precision,
        forms=lambda wildcards: STUDY.list_timed_forms(wildcards.backbone, MODELS),
        settings=as_is(settings_json(STUDY.settings.profile)),
        backbone=lambda wildcards: describe_network(wildcards.backbone),
        code=code_hash("profile_backbone"),
    message:
        "measure the cost of {wildcards.backbone}"
    shell:
        "python scripts/profile_backbone.py --backbone {wildcards.backbone:q} --preprocess {params.preprocess:q}"
        " --batch-size {params.batch_size} --precision {params.precision:q} --forms {params.forms:q}"
        " --settings {params.settings:q} --device {resources.device:q} --threads {threads}"
        " --profile {output.profile:q} > {log:q} 2>&1"


rule select_models:
    input:
        collect(rules.profile_backbone.output.profile, backbone=USED_BACKBONES),
        collect(
            LAYOUT.model_file("{model.path}", "{file}"),
            model=[model for model in MODELS if model.variant == BASE],
            file=["val_predictions.csv", "val_mirrored.csv"],
        ),
        collect([rules.index.output.index, rules.split.output.split], dataset=DATASETS),
        rules.copies.output.groups,
    output:
        selection=LAYOUT.selection(),
    log:
        LAYOUT.selection().with_suffix(".log"),
    localrule: True  # shorter than the wait for a job of its own
    conda:
        "../../envs/cxrflow.yaml"
    params:
        results=subpath(output.selection, parent=True),
        models=[model.path for model in MODELS],
        config=as_is(settings_json(STUDY.settings_without_places())),
        code=code_of_all("select_models"),
    message:
        "choose a model for each dataset"
    shell:
        "python scripts/select_models.py --results {params.results:q} --config {params.config:q} --models {params.models:q}"
        " --selection {output.selection:q} > {log:q} 2>&1"


# What the words of a check's `needs` mean.
NEEDED = {
    "plan": [rules.analysis_plan.output.plan],
    "index": collect([rules.index.output.summary, rules.index.output.index], dataset=DATASETS),
    "selection": [rules.select_models.output.selection],
    "split": collect(rules.split.output, dataset=DATASETS),
    "probes": collect(rules.probe.output, dataset=DATASETS),
    "copies": rules.copies.output,
    "backbones": collect(rules.profile_backbone.output.profile, backbone=USED_BACKBONES),
    **{
        Path(file).stem: collect(LAYOUT.model_file("{model.path}", file), model=MODELS)
        for file in ("training.json", "history.csv", "metrics.json", "predictions.csv", "mirrored.csv")
    },
    "gradcam": collect(LAYOUT.model_file("{model.path}", "gradcam.{suffix}"), model=MODELS, suffix=["json", "csv"]),
}


rule check:
    input:
        lambda wildcards: [
            path
            for need in sorted({need for name in VERDICTS[wildcards.check] for need in CHECKS[name].needs})
            for path in NEEDED[need]
        ],
    output:
        verdict=LAYOUT.check("{check}"),
    log:
        LAYOUT.check("{check}").with_suffix(".log"),
    localrule: True  # a second; the claims, judged together, a few
    conda:
        "../../envs/cxrflow.yaml"
    params:
        results=subpath(output.verdict, ancestor=2),
        models=rules.select_models.params.models,
        missing=as_is({model.path: why for model, why in list_missing(STUDY, LAYOUT, MODELS).items()}),
        config=as_is(settings_json(STUDY.settings_without_places())),
        backbones={name: asdict(BACKBONES[name]) for name in USED_BACKBONES},
        code=lambda wildcards: code_of_all("check", *(CHECKS[name].module for name in VERDICTS[wildcards.check])),
    message:
        "check {wildcards.check}"
    shell:
        "python scripts/check.py --check {wildcards.check:q} --results {params.results:q} --config {params.config:q}"
        " --models {params.models:q} --verdict {output.verdict:q} > {log:q} 2>&1"


rule summarize:
    input:
        collect(rules.probe.output, dataset=DATASETS),
        rules.select_models.output.selection,
        collect(rules.check.output.verdict, check=VERDICTS),
        collect([rules.index.output.summary, rules.index.output.index, *rules.split.output], dataset=DATASETS),
        rules.copies.output.groups,
        collect(rules.profile_backbone.output.profile, backbone=USED_BACKBONES),
        collect(
            LAYOUT.model_file("{model.path}", "{file}"),
            model=MODELS,
            file=[
                "history.csv",
                "training.json",
                "predictions.csv",
                "mirrored.csv",
                "val_predictions.csv",
                "metrics.json",
            ],
        ),
        collect(LAYOUT.model_file("{model.path}", "gradcam.{suffix}"), model=MODELS, suffix=["json", "csv"]),
    output:
        [in_report(LAYOUT.summary(file)) for file in SUMMARY_FILES],
    log:
        LAYOUT.summary("summarize.log"),
    conda:
        "../../envs/cxrflow.yaml"
    params:
        results=subpath(output[0], ancestor=2),
        folder=subpath(output[0], parent=True),
        models=rules.check.params.models,
        config=rules.check.params.config,
        backbones=rules.check.params.backbones,
        code=code_of_all("summarize", *MODULES),
    message:
        "compare all models in {params.folder}"
    shell:
        "python scripts/summarize.py --results {params.results:q} --config {params.config:q}"
        " --models {params.models:q} --folder {params.folder:q} > {log:q} 2>&1"


rule report:
    input:
        rules.summarize.output,
        collect(rules.samples.output, dataset=DATASETS, recipe=STUDY.recipe()),
        collect(rules.choose_settings.output, search=FINISHED),
        collect(
            LAYOUT.model_file("{model.path}", "{file}"),
            model=MODELS,
            file=["confusion.png", "tsne.png", "gradcam.png"],
        ),
    output:
        report=report(LAYOUT.report(), category="Report", labels={"shows": "the whole study on one page"}),
    log:
        LAYOUT.report().with_suffix(".log"),
    conda:
        "../../envs/cxrflow.yaml"
    params:
        results=subpath(output.report, parent=True),
        summary=subpath(input[0], parent=True),
        models=rules.summarize.params.models,
        config=rules.summarize.params.config,
        templates=[sha256_file(path) for path in sorted(Path(SCRIPTS, "cxrflow/report/templates").iterdir())],
        code=code_of_all("report"),
    message:
        "write {output.report}"
    shell:
        "python scripts/report.py --results {params.results:q} --config {params.config:q}"
        " --models {params.models:q} --summary {params.summary:q} --report {output.report:q} > {log:q} 2>&1"


SUMMARY, REPORT = rules.summarize, rules.report
