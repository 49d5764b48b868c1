# A trained model to its numbers: evaluate is the only door to the test subset, the rest reads its files.


rule evaluate:
    input:
        images=images_of,
        split=rules.split.output.split,
        model=rules.train.output.model,
        checksum=rules.train.output.checksum,
    output:
        val_predictions=f"{MODEL}/val_predictions.csv",
        predictions=f"{MODEL}/predictions.csv",
        features=f"{MODEL}/features.npy",
    log:
        f"{MODEL}/evaluate.log",
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    resources:
        device=COMPUTE.device,
    params:
        settings=settings_json(STUDY.settings.evaluate),
        code=code_hash("evaluate"),
    message:
        "evaluate {wildcards.dataset} {wildcards.backbone} {wildcards.init} {wildcards.variant} seed{wildcards.seed}"
    shell:
        "python scripts/evaluate.py --images {input.images:q} --split {input.split:q} --model {input.model:q}"
        " --settings {params.settings:q} --device {resources.device:q} --threads {threads}"
        " --val-predictions {output.val_predictions:q}"
        " --features {output.features:q} --predictions {output.predictions:q} > {log:q} 2>&1"


rule score:
    input:
        predictions=rules.evaluate.output.predictions,
    output:
        metrics=in_model_report("metrics.json", "model_metrics.rst"),
        confusion=in_model_report("confusion.png", "model_confusion.rst"),
    log:
        f"{MODEL}/score.log",
    localrule: True  # shorter than the wait for a job of its own
    conda:
        "../../envs/cxrflow.yaml"
    params:
        title=of_wildcards(lambda wildcards: STUDY.model_title(model_of(wildcards))),
        settings=settings_json(STUDY.settings.score),
        code=code_hash("score"),
    message:
        "score {wildcards.dataset} {wildcards.backbone} {wildcards.init} {wildcards.variant} seed{wildcards.seed}"
    shell:
        "python scripts/score.py --predictions {input.predictions:q} --settings {params.settings:q}"
        " --title {params.title:q} --confusion {output.confusion:q} --metrics {output.metrics:q} > {log:q} 2>&1"


rule embed:
    input:
        features=rules.evaluate.output.features,
        predictions=rules.evaluate.output.predictions,
    output:
        table=f"{MODEL}/tsne.csv",
        figure=in_model_report("tsne.png", "model_tsne.rst"),
    log:
        f"{MODEL}/embed.log",
    conda:
        "../../envs/cxrflow.yaml"
    params:
        title=rules.score.params.title,
        settings=settings_json(STUDY.settings.embed),
        code=code_hash("embed"),
    message:
        "embed {wildcards.dataset} {wildcards.backbone} {wildcards.init} {wildcards.variant} seed{wildcards.seed}"
    shell:
        "python scripts/embed.py --features {input.features:q} --predictions {input.predictions:q}"
        " --settings {params.settings:q} --title {params.title:q}"
        " --figure {output.figure:q} --table {output.table:q} > {log:q} 2>&1"
