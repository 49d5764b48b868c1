# Packed images to a trained model: convert_weights, fetch_weights, train.


rule convert_weights:
    output:
        weights=LAYOUT.weights("{name}"),
        checksum=LAYOUT.weights("{name}").with_suffix(".pth.sha256"),
    log:
        LAYOUT.weights("{name}").with_suffix(".log"),
    wildcard_constraints:
        name="|".join(STUDY.settings.weights) or "none",
    localrule: True  # compute nodes often have no internet
    conda:
        "../../envs/cxrflow.yaml"
    resources:
        folder=as_is(STUDY.settings.weights_root),  # where, not what: the file's SHA-256 is among the settings
    params:
        settings=of_wildcards(lambda wildcards: settings_json(STUDY.settings.weights[wildcards.name])),
        code=code_hash("convert_weights"),
    message:
        "make the weights {wildcards.name} ready to start from"
    shell:
        "python scripts/convert_weights.py --name {wildcards.name:q} --settings {params.settings:q}"
        " --folder {resources.folder:q} --weights {output.weights:q} > {log:q} 2>&1"


rule fetch_weights:
    output:
        weights=LAYOUT.weights("{file}"),
    log:
        LAYOUT.weights("{file}").with_suffix(".log"),
    wildcard_constraints:
        file="|".join(
            backbone.imagenet.file.removesuffix(".pth") for backbone in BACKBONES.values() if backbone.imagenet
        ),
    localrule: True  # compute nodes often have no internet
    conda:
        "../../envs/cxrflow.yaml"
    resources:
        # where, not what: the file's name holds its hash
        url=as_is(STUDY.settings.weights_url),
        folder=as_is(STUDY.settings.weights_root),
    params:
        code=code_hash("fetch_weights"),
    message:
        "fetch ImageNet weights {wildcards.file}"
    shell:
        "python scripts/fetch_weights.py --url {resources.url:q} --folder {resources.folder:q}"
        " --weights {output.weights:q} > {log:q} 2>&1"


rule train:
    input:
        images=images_of,
        table=table_of,
        split=rules.split.output.split,
        init_weights=init_weights_of,
    output:
        model=f"{MODEL}/model.pt",
        checksum=f"{MODEL}/model.pt.sha256",
        history=f"{MODEL}/history.csv",
        training=f"{MODEL}/training.json",
    log:
        f"{MODEL}/train.log",
    benchmark:
        f"{MODEL}/train.tsv"
    group:
        share_job("train")
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    resources:
        in_turn=1,
        # on one machine nothing waits for them, unless `--resources gpu=N` says how many there are; so in all rules
        gpu=COMPUTE.requested_gpus,
        device=COMPUTE.device,
        processes=COMPUTE.gpus,
    params:
        model_id=MODEL_PATTERN,
        preprocess=of_wildcards(lambda wildcards: preprocess_json(wildcards.variant)),
        settings=of_wildcards(lambda wildcards: train_json(wildcards.variant)),
        init_weights=of_wildcards(
            lambda wildcards, input: ["--init-weights", input.init_weights] if input.get("init_weights") else []
        ),
        resume=f"{MODEL}/resume",
        backbone=of_wildcards(lambda wildcards: describe_network(wildcards.backbone)),
        code=code_hash("train"),
    message:
        "train {wildcards.dataset} {wildcards.backbone} {wildcards.init} {wildcards.variant} seed{wildcards.seed}"
    shell:
        "python scripts/train.py --images {input.images:q} --split {input.split:q} --model-id {params.model_id:q}"
        " {params.init_weights:q} --preprocess {params.preprocess:q} --settings {params.settings:q}"
        " --device {resources.device:q} --gpus {resources.processes}"
        " --threads {threads} --resume {params.resume:q} --history {output.history:q} --training {output.training:q}"
        " --model {output.model:q} > {log:q} 2>&1"
