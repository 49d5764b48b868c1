# Of images that may have several findings: a trained model to its numbers and the page, in place of evaluate.smk,
# tune.smk, summary.smk and deliver.smk. What this way leaves out, and why, is said in scripts/cxrflow/config/findings.py.
from cxrflow.report.findings import FINDING_FILES


rule evaluate_findings:
    input:
        test_images=test_images_of,
        test_table=test_table_of,
        test=rules.split.output.test,
        model=rules.train.output.model,
        checksum=rules.train.output.checksum,
    output:
        predictions=f"{MODEL}/predictions.csv",
    log:
        f"{MODEL}/evaluate.log",
    group:
        share_job("evaluate_findings")
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    resources:
        in_turn=1,
        gpu=min(1, COMPUTE.requested_gpus),
        device=COMPUTE.device,
    params:
        settings=as_is(settings_json(STUDY.settings.evaluate)),
        code=code_hash("evaluate_findings"),
    message:
        "evaluate {wildcards.dataset} {wildcards.backbone} {wildcards.init} {wildcards.variant} seed{wildcards.seed}"
    shell:
        "python scripts/evaluate_findings.py --test-images {input.test_images:q} --test {input.test:q}"
        " --model {input.model:q} --settings {params.settings:q} --device {resources.device:q} --threads {threads}"
        " --predictions {output.predictions:q} > {log:q} 2>&1"


rule score_findings:
    input:
        predictions=rules.evaluate_findings.output.predictions,
    output:
        metrics=in_model_report("metrics.json"),
    log:
        f"{MODEL}/score.log",
    group:
        share_job("score_findings")
    conda:
        "../../envs/cxrflow.yaml"
    resources:
        in_turn=1,
    params:
        settings=as_is(settings_json(STUDY.settings.score)),
        code=code_hash("score_findings"),
    message:
        "score {wildcards.dataset} {wildcards.backbone} {wildcards.init} {wildcards.variant} seed{wildcards.seed}"
    shell:
        "python scripts/score_findings.py --predictions {input.predictions:q} --settings {params.settings:q}"
        " --metrics {output.metrics:q} > {log:q} 2>&1"


rule report_findings:
    input:
        collect([rules.index.output.summary, rules.index.output.index, *rules.split.output], dataset=DATASETS),
        rules.copies.output.groups,
        collect(
            LAYOUT.model_file("{model.path}", "{file}"),
            model=MODELS,
            file=["history.csv", "training.json", "metrics.json"],
        ),
    output:
        [LAYOUT.summary(file) for file in FINDING_FILES],
        report=report(LAYOUT.report(), category="Report", labels={"shows": "the whole study on one page"}),
    log:
        LAYOUT.report().with_suffix(".log"),
    conda:
        "../../envs/cxrflow.yaml"
    params:
        results=subpath(output.report, parent=True),
        folder=subpath(output[0], parent=True),
        models=[model.path for model in MODELS],
        config=as_is(settings_json(STUDY.settings_without_places())),
        templates=[sha256_file(path) for path in sorted(Path(SCRIPTS, "cxrflow/report/templates").iterdir())],
        code=code_of_all("report_findings"),
    message:
        "write {output.report}"
    shell:
        "python scripts/report_findings.py --results {params.results:q} --config {params.config:q}"
        " --models {params.models:q} --folder {params.folder:q} --report {output.report:q} > {log:q} 2>&1"


OF_MODEL = (rules.evaluate_findings, rules.score_findings)  # what `rule all` wants of every model
SUMMARY = REPORT = rules.report_findings
