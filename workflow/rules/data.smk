# Raw folders to packed images: phantom, index, split, preprocess, samples.


rule phantom:
    output:
        manifest=f"{RESULTS}/phantoms/manifest.json",
    params:
        folder=f"{RESULTS}/phantoms",
        settings=settings_json(STUDY.settings.phantoms) if STUDY.settings.phantoms else "",
        code=code_hash("phantom"),
    log:
        f"{RESULTS}/phantoms.log",
    benchmark:
        f"{RESULTS}/phantoms.tsv"
    threads: 2
    conda:
        "../../envs/cxrflow.yaml"
    shell:
        "python {SCRIPTS:q}/phantom.py --folder {params.folder:q} --settings {params.settings:q} --threads {threads}"
        " --manifest {output.manifest:q} > {log:q} 2>&1"


rule index:
    input:
        # The raw folder is no input: a plan works before any data is in place. `-R index` looks at changed folders again.
        rules.phantom.output.manifest if STUDY.settings.phantoms else [],
    output:
        index=f"{DATA}/index.csv",
        rejects=f"{DATA}/rejects.csv",
        regions=f"{DATA}/regions.csv",
        summary=f"{DATA}/index.json",
    params:
        folder=lambda wildcards: str(STUDY.dataset_folder(wildcards.dataset)),
        reader=lambda wildcards: settings_json(STUDY.settings.datasets[wildcards.dataset]),
        settings=settings_json(STUDY.settings.index),
        published=lambda wildcards: reader_of(wildcards.dataset).published_counts,
        code=lambda wildcards: code_hash("index", reader_of(wildcards.dataset).list_images.__module__),
    log:
        f"{DATA}/index.log",
    benchmark:
        f"{DATA}/index.tsv"
    threads: 2
    priority: 100  # a folder of another layout should stop the study before hours are spent
    conda:
        "../../envs/cxrflow.yaml"
    shell:
        "python {SCRIPTS:q}/index.py --folder {params.folder:q} --dataset {wildcards.dataset:q}"
        " --reader-settings {params.reader:q} --settings {params.settings:q} --threads {threads}"
        " --rejects {output.rejects:q} --regions {output.regions:q} --summary {output.summary:q}"
        " --index {output.index:q} > {log:q} 2>&1"


rule split:
    input:
        index=rules.index.output.index,
    output:
        split=f"{DATA}/split.csv",
    params:
        settings=settings_json(STUDY.settings.split),
        code=code_hash("split"),
    log:
        f"{DATA}/split.log",
    priority: 90
    conda:
        "../../envs/cxrflow.yaml"
    shell:
        "python {SCRIPTS:q}/split.py --index {input.index:q} --settings {params.settings:q}"
        " --split {output.split:q} > {log:q} 2>&1"


rule preprocess:
    input:
        index=rules.index.output.index,
    output:
        images=f"{DATA}/{{recipe}}/images.npy",
    params:
        folder=rules.index.params.folder,
        settings=lambda wildcards: settings_json(STUDY.recipes()[wildcards.recipe]),
        resume=f"{DATA}/{{recipe}}/resume",
        code=code_hash("preprocess"),
    log:
        f"{DATA}/{{recipe}}/preprocess.log",
    benchmark:
        f"{DATA}/{{recipe}}/preprocess.tsv"
    threads: 2
    priority: 80
    conda:
        "../../envs/cxrflow.yaml"
    shell:
        "python {SCRIPTS:q}/preprocess.py --folder {params.folder:q} --index {input.index:q}"
        " --settings {params.settings:q} --threads {threads} --resume {params.resume:q}"
        " --images {output.images:q} > {log:q} 2>&1"


rule samples:
    input:
        index=rules.index.output.index,
        images=rules.preprocess.output.images,
    output:
        samples=f"{DATA}/{{recipe}}/samples.png",
        before_after=f"{DATA}/{{recipe}}/before_after.png",
    params:
        folder=rules.index.params.folder,
        title=lambda wildcards: STUDY.dataset_title(wildcards.dataset),
        settings=settings_json(STUDY.settings.samples),
        preprocess=rules.preprocess.params.settings,
        code=code_hash("samples"),
    log:
        f"{DATA}/{{recipe}}/samples.log",
    conda:
        "../../envs/cxrflow.yaml"
    shell:
        "python {SCRIPTS:q}/samples.py --folder {params.folder:q} --index {input.index:q} --images {input.images:q}"
        " --title {params.title:q} --preprocess {params.preprocess:q} --settings {params.settings:q}"
        " --samples {output.samples:q} --before-after {output.before_after:q} > {log:q} 2>&1"
