# Raw folders to packed images: phantom, index, copies, split, lungs, preprocess, samples.


rule phantom:
    output:
        manifest=LAYOUT.phantom_manifest(),
    log:
        LAYOUT.phantoms().with_suffix(".log"),
    benchmark:
        LAYOUT.phantoms().with_suffix(".tsv")
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    params:
        folder=subpath(output.manifest, parent=True),
        settings=as_is(settings_json(STUDY.settings.phantoms) if STUDY.settings.phantoms else ""),
        code=code_hash("phantom"),
    message:
        "synthesise X-rays in {params.folder}"
    shell:
        "python scripts/phantom.py --folder {params.folder:q} --settings {params.settings:q} --threads {threads}"
        " --manifest {output.manifest:q} > {log:q} 2>&1"


rule index:
    input:
        # The raw folder is not an input: a plan works before any data is in place. `-R index` looks at changed folders again.
        rules.phantom.output.manifest if STUDY.settings.phantoms else [],
    output:
        index=LAYOUT.index("{dataset}"),
        rejects=LAYOUT.rejects("{dataset}"),
        regions=LAYOUT.regions("{dataset}"),
        thumbnails=LAYOUT.thumbnails("{dataset}"),
        summary=LAYOUT.index_counts("{dataset}"),
    log:
        f"{DATA}/index.log",
    benchmark:
        f"{DATA}/index.tsv"
    priority: 100  # a folder of another layout should stop the study before hours are spent
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    resources:
        folder=folder_of,
    params:
        reader=lambda wildcards: settings_json(STUDY.reader_settings(wildcards.dataset)),
        settings=as_is(settings_json(STUDY.settings.index)),
        code=lambda wildcards: code_hash("index", reader_module(reader_of(wildcards.dataset))),
    message:
        "index {wildcards.dataset}: look at every image in {resources.folder}"
    shell:
        "python scripts/index.py --folder {resources.folder:q} --dataset {wildcards.dataset:q}"
        " --reader-settings {params.reader:q} --settings {params.settings:q} --threads {threads}"
        " --rejects {output.rejects:q} --regions {output.regions:q}"
        " --thumbnails {output.thumbnails:q} --summary {output.summary:q}"
        " --index {output.index:q} > {log:q} 2>&1"


rule copies:
    input:
        indexes=lambda wildcards: collect(rules.index.output.index, dataset=compared_datasets()),
        thumbnails=lambda wildcards: collect(rules.index.output.thumbnails, dataset=compared_datasets()),
    output:
        copies=LAYOUT.copies(),
        groups=LAYOUT.groups(),
    log:
        LAYOUT.copies().with_suffix(".log"),
    benchmark:
        LAYOUT.copies().with_suffix(".tsv")
    priority: 95
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    params:
        datasets=lambda wildcards: compared_datasets(),
        settings=as_is(settings_json(STUDY.settings.split)),
        code=code_hash("copies"),
    message:
        "look for copies among the images of {params.datasets}"
    shell:
        "python scripts/copies.py --datasets {params.datasets:q} --indexes {input.indexes:q}"
        " --thumbnails {input.thumbnails:q} --settings {params.settings:q} --threads {threads}"
        " --copies {output.copies:q} --groups {output.groups:q} > {log:q} 2>&1"


rule split:
    input:
        index=rules.index.output.index,
        # ancient: another dataset, added or left out, trains nothing again; a leak that it brings is counted (checks)
        groups=ancient(rules.copies.output.groups),
    output:
        split=LAYOUT.split("{dataset}"),
        test=LAYOUT.test("{dataset}"),
    log:
        f"{DATA}/split.log",
    priority: 90
    localrule: True  # shorter than the wait for a job of its own
    conda:
        "../../envs/cxrflow.yaml"
    params:
        settings=as_is(settings_json(STUDY.settings.split)),
        code=code_hash("split"),
        copies_code=rules.copies.params.code,
    message:
        "split {wildcards.dataset} by patient"
    shell:
        "python scripts/split.py --index {input.index:q} --dataset {wildcards.dataset:q} --groups {input.groups:q}"
        " --settings {params.settings:q} --split {output.split:q} --test {output.test:q} > {log:q} 2>&1"


rule lungs:
    input:
        indexes=lambda wildcards: collect(rules.index.output.index, dataset=segmented_datasets()),
        regions=lambda wildcards: collect(rules.index.output.regions, dataset=segmented_datasets()),
        splits=lambda wildcards: collect(rules.split.output.split, dataset=segmented_datasets()),
        thumbnails=lambda wildcards: collect(rules.index.output.thumbnails, dataset=segmented_datasets()),
    output:
        scores=LAYOUT.lungs_scores(),
        lungs=LAYOUT.lungs(),
    log:
        LAYOUT.lungs().with_suffix(".log"),
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    resources:
        masks=lambda wildcards: shlex.join(str(STUDY.dataset_folder(name)) for name in segmented_datasets()),
    params:
        datasets=lambda wildcards: segmented_datasets(),
        settings=as_is(settings_json(STUDY.settings.score)),
        code=code_hash("lungs"),
    message:
        "look for the lungs in the images of {params.datasets}"
    shell:
        "python scripts/lungs.py --datasets {params.datasets:q} --indexes {input.indexes:q}"
        " --regions {input.regions:q} --splits {input.splits:q} --thumbnails {input.thumbnails:q}"
        " --masks {resources.masks} --settings {params.settings:q} --threads {threads}"
        " --scores {output.scores:q} --lungs {output.lungs:q} > {log:q} 2>&1"


rule preprocess:
    input:
        index=rules.index.output.index,
        split=rules.split.output.split,
        test=rules.split.output.test,
    output:
        images=IMAGES,
        table=IMAGE_TABLE,
        test_images=LAYOUT.test_images("{dataset}", "{recipe}"),
        test_table=LAYOUT.test_table("{dataset}", "{recipe}"),
    log:
        f"{RECIPE}/preprocess.log",
    benchmark:
        f"{RECIPE}/preprocess.tsv"
    priority: 80
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    resources:
        folder=folder_of,
    params:
        settings=lambda wildcards: settings_json(RECIPES[wildcards.recipe]),
        resume=f"{RECIPE}/resume",
        code=code_hash("preprocess"),
    message:
        "preprocess {wildcards.dataset} to {wildcards.recipe}"
    shell:
        "python scripts/preprocess.py --folder {resources.folder:q} --index {input.index:q} --split {input.split:q}"
        " --test {input.test:q} --settings {params.settings:q} --threads {threads} --resume {params.resume:q}"
        " --images {output.images:q} --test-images {output.test_images:q} > {log:q} 2>&1"


rule samples:
    input:
        index=rules.index.output.index,
        images=IMAGES,
        table=IMAGE_TABLE,
    output:
        samples=in_data_report(f"{RECIPE}/samples.png"),
        before_after=in_data_report(f"{RECIPE}/before_after.png"),
    log:
        f"{RECIPE}/samples.log",
    conda:
        "../../envs/cxrflow.yaml"
    resources:
        folder=folder_of,
    params:
        title=lambda wildcards: STUDY.dataset_title(wildcards.dataset),
        settings=as_is(settings_json(STUDY.settings.samples)),
        preprocess=rules.preprocess.params.settings,
        code=code_hash("samples"),
    message:
        "show samples of {wildcards.dataset}, {wildcards.recipe}"
    shell:
        "python scripts/samples.py --folder {resources.folder:q} --index {input.index:q} --images {input.images:q}"
        " --title {params.title:q} --preprocess {params.preprocess:q} --settings {params.settings:q}"
        " --samples {output.samples:q} --before-after {output.before_after:q} > {log:q} 2>&1"
