# A trained model to its numbers and pictures: evaluate does all that needs the network, by the only door to the test
# rows; score does the rest from its files, so that a new metric costs no GPU; probe fits what a network has to beat.


rule analysis_plan:
    output:
        plan=update(LAYOUT.analysis_plan()),  # earlier versions stay
    log:
        LAYOUT.analysis_plan().with_suffix(".log"),
    # Also made at the start of every run (onstart), before any job can open test rows. No input of evaluate, or every
    # changed setting would open them anew; ancient() does not help: Snakemake 9.27 then drops jobs that have to run.
    localrule: True  # shorter than the wait for a job of its own
    conda:
        "../../envs/cxrflow.yaml"
    params:
        config=as_is(settings_json(STUDY.settings_without_places())),
        code=code_of_all("analysis_plan", *MODULES),
    message:
        "write down what is asked and how it is decided"
    shell:
        "python scripts/analysis_plan.py --config {params.config:q} --plan {output.plan:q} > {log:q} 2>&1"


rule evaluate:
    input:
        images=images_of,
        table=table_of,
        split=rules.split.output.split,
        test_images=test_images_of,
        test_table=test_table_of,
        test=rules.split.output.test,
        index=rules.index.output.index,
        regions=rules.index.output.regions,
        model=rules.train.output.model,
        checksum=rules.train.output.checksum,
    output:
        val_predictions=f"{MODEL}/val_predictions.csv",
        val_mirrored=f"{MODEL}/val_mirrored.csv",
        predictions=f"{MODEL}/predictions.csv",
        mirrored=f"{MODEL}/mirrored.csv",
        features=f"{MODEL}/features.npy",
        gradcam_png=in_model_report("gradcam.png"),
        gradcam_csv=f"{MODEL}/gradcam.csv",
        gradcam_json=f"{MODEL}/gradcam.json",
    log:
        f"{MODEL}/evaluate.log",
    group:
        share_job("evaluate")
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    resources:
        in_turn=1,
        gpu=min(1, COMPUTE.requested_gpus),
        device=COMPUTE.device,
        folder=folder_of,
    params:
        name=of_wildcards(lambda wildcards: STUDY.model_name(model_of(wildcards))),
        settings=as_is(settings_json(STUDY.settings.evaluate)),
        explain=as_is(settings_json(STUDY.settings.explain)),
        layer=of_wildcards(lambda wildcards: BACKBONES[wildcards.backbone].gradcam_layer),
        code=code_hash("evaluate"),
    message:
        "evaluate {wildcards.dataset} {wildcards.backbone} {wildcards.init} {wildcards.variant} seed{wildcards.seed}"
    shell:
        "python scripts/evaluate.py --images {input.images:q} --split {input.split:q}"
        " --test-images {input.test_images:q} --test {input.test:q} --index {input.index:q} --regions {input.regions:q} --folder {resources.folder:q} --model {input.model:q}"
        " --settings {params.settings:q} --explain {params.explain:q} --device {resources.device:q}"
        " --threads {threads} --title {params.name:q} --val-predictions {output.val_predictions:q}"
        " --val-mirrored {output.val_mirrored:q} --predictions {output.predictions:q} --mirrored {output.mirrored:q}"
        " --features {output.features:q} --gradcam-png {output.gradcam_png:q}"
        " --gradcam-csv {output.gradcam_csv:q} --gradcam-json {output.gradcam_json:q} > {log:q} 2>&1"


rule probe:
    input:
        images=LAYOUT.images("{dataset}", STUDY.recipe()),
        table=LAYOUT.image_table("{dataset}", STUDY.recipe()),
        split=rules.split.output.split,
        test_images=LAYOUT.test_images("{dataset}", STUDY.recipe()),
        test_table=LAYOUT.test_table("{dataset}", STUDY.recipe()),
        test=rules.split.output.test,
        index=rules.index.output.index,
        regions=rules.index.output.regions,
        lungs=rules.lungs.output.lungs,
        lungs_scores=rules.lungs.output.scores,
    output:
        predictions=collect(LAYOUT.probe("{{dataset}}", "{probe}.csv"), probe=PROBES),
        scores=LAYOUT.probe("{dataset}", "probes.json"),
    log:
        LAYOUT.probe("{dataset}", "probe.log"),
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    resources:
        masks=folder_of,
    params:
        folder=subpath(output.scores, parent=True),
        size_px=STUDY.settings.preprocess.size_px,
        settings=as_is(settings_json(STUDY.settings.score)),
        code=code_hash("probe"),
    message:
        "fit what a network has to beat on {wildcards.dataset}"
    shell:
        "python scripts/probe.py --images {input.images:q} --split {input.split:q} --test-images {input.test_images:q}"
        " --test {input.test:q} --index {input.index:q} --regions {input.regions:q} --masks {resources.masks:q}"
        " --dataset {wildcards.dataset:q} --lungs {input.lungs:q} --lungs-scores {input.lungs_scores:q}"
        " --size-px {params.size_px} --threads {threads} --settings {params.settings:q} --folder {params.folder:q}"
        " > {log:q} 2>&1"


rule score:
    input:
        predictions=rules.evaluate.output.predictions,
        features=rules.evaluate.output.features,
    output:
        metrics=in_model_report("metrics.json"),
        confusion=in_model_report("confusion.png"),
        tsne_csv=f"{MODEL}/tsne.csv",
        tsne_png=in_model_report("tsne.png"),
    log:
        f"{MODEL}/score.log",
    group:
        share_job("score")
    conda:
        "../../envs/cxrflow.yaml"
    resources:
        in_turn=1,
    params:
        title=of_wildcards(lambda wildcards: STUDY.model_title(model_of(wildcards))),
        settings=as_is(settings_json(STUDY.settings.score)),
        embed=as_is(settings_json(STUDY.settings.embed)),
        code=code_hash("score"),
    message:
        "score {wildcards.dataset} {wildcards.backbone} {wildcards.init} {wildcards.variant} seed{wildcards.seed}"
    shell:
        "python scripts/score.py --predictions {input.predictions:q} --features {input.features:q}"
        " --settings {params.settings:q} --embed {params.embed:q} --title {params.title:q}"
        " --confusion {output.confusion:q} --tsne-csv {output.tsne_csv:q} --tsne-png {output.tsne_png:q}"
        " --metrics {output.metrics:q} > {log:q} 2>&1"


OF_MODEL = (rules.evaluate, rules.score)  # what `rule all` wants of every model
