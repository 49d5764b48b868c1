# A trained model as one file that scripts/predict.py reads new X-rays with: export.


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
