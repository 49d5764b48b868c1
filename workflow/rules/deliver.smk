# A trained model as one file, and the folder that reads new X-rays alone: export, deliver.


rule export:
    input:
        model=rules.train.output.model,
        checksum=rules.train.output.checksum,
        training=rules.train.output.training,
    output:
        onnx=f"{MODEL}/model.onnx",
    log:
        f"{MODEL}/export.log",
    conda:
        "../../envs/cxrflow.yaml"
    params:
        backbone=rules.train.params.backbone,
        code=code_hash("export"),
    message:
        "export {wildcards.dataset} {wildcards.backbone} {wildcards.init} {wildcards.variant} seed{wildcards.seed}"
    shell:
        "python scripts/export.py --model {input.model:q} --training {input.training:q}"
        " --onnx {output.onnx:q} > {log:q} 2>&1"


rule exports:  # not part of `all`: the study needs none, and a user wants one or two of them
    input:
        collect(LAYOUT.model_file("{model.path}", "model.onnx"), model=MODELS),


rule deliver:
    input:
        rules.select_models.output.selection,
        collect(
            LAYOUT.model_file("{model.path}", "{file}"),
            model=[model for model in MODELS if model.variant == BASE],
            file=[
                "model.pt",
                "model.pt.sha256",
                "training.json",
                "metrics.json",
                "val_predictions.csv",
                "val_mirrored.csv",
                "predictions.csv",
                "mirrored.csv",
            ],
        ),
        collect([rules.index.output.index, rules.split.output.split], dataset=DATASETS),
        collect(
            [LAYOUT.images("{dataset}", STUDY.recipe()), LAYOUT.image_table("{dataset}", STUDY.recipe())],
            dataset=DATASETS,
        ),
    output:
        sums=collect(LAYOUT.delivered_sums("{dataset}"), dataset=DATASETS),
    log:
        LAYOUT.delivered("").with_suffix(".log"),
    conda:
        "../../envs/cxrflow.yaml"
    params:
        results=LAYOUT.root,
        datasets=DATASETS,
        folder=LAYOUT.delivered(""),
        config=as_is(settings_json(STUDY.settings_without_places())),
        code=code_of_all("deliver", "cxrflow.deliver.command"),
    message:
        "deliver the model chosen for each dataset"
    shell:
        "python scripts/deliver.py --results {params.results:q} --datasets {params.datasets:q}"
        " --config {params.config:q} --folder {params.folder:q} > {log:q} 2>&1"
