# Where a model looks: Grad-CAM overlays of test images, scored where lesions or lungs are annotated.


rule explain:
    input:
        images=images_of,
        index=rules.index.output.index,
        regions=rules.index.output.regions,
        model=rules.train.output.model,
        checksum=rules.train.output.checksum,
        predictions=rules.evaluate.output.predictions,
    output:
        gallery=in_model_report("gradcam.png", "model_gradcam.rst"),
        table=f"{MODEL}/gradcam.csv",
        summary=f"{MODEL}/gradcam.json",
    log:
        f"{MODEL}/explain.log",
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    resources:
        device=COMPUTE.device,
        folder=folder_of,
    params:
        title=rules.score.params.title,
        settings=settings_json(STUDY.settings.explain),
        layer=of_wildcards(lambda wildcards: BACKBONES[wildcards.backbone].gradcam_layer),
        code=code_hash("explain"),
    message:
        "explain {wildcards.dataset} {wildcards.backbone} {wildcards.init} {wildcards.variant} seed{wildcards.seed}"
    shell:
        "python scripts/explain.py --images {input.images:q} --index {input.index:q} --regions {input.regions:q}"
        " --folder {resources.folder:q} --model {input.model:q} --predictions {input.predictions:q}"
        " --settings {params.settings:q} --device {resources.device:q} --threads {threads} --title {params.title:q}"
        " --gallery {output.gallery:q} --table {output.table:q} --summary {output.summary:q} > {log:q} 2>&1"
