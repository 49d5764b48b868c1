# Searches for better settings: ask, trial, choose_settings. How many jobs there are follows from the config alone: a
# question names the trial that goes on, and the settings of a new one, and trainings read them from it.


wildcard_constraints:
    search="|".join(SEARCHES),
    generation=r"\d+",
    run=r"\d+",


rule ask:
    input:
        trials=lambda wildcards: trials_before(wildcards.search, int(wildcards.generation)),
    output:
        asked=LAYOUT.asked("{search}", "{generation}"),
    log:
        f"{TUNING}/generation{{generation}}.log",
    localrule: True  # shorter than the wait for a job of its own
    conda:
        "../../envs/cxrflow.yaml"
    params:
        tune=lambda wildcards: settings_json(search_until(wildcards.search, int(wildcards.generation))),
        preprocess=as_is(settings_json(STUDY.settings.preprocess)),
        train=as_is(settings_json(STUDY.settings.train)),
        code=code_hash("ask"),
    message:
        "ask generation {wildcards.generation} of {wildcards.search}"
    shell:
        "python scripts/ask.py --tune {params.tune:q} --preprocess {params.preprocess:q} --train {params.train:q}"
        " --generation {wildcards.generation} --trials {input.trials:q} --asked {output.asked:q} > {log:q} 2>&1"


rule trial:
    input:
        asked=asked_of,
        images=packed_of(LAYOUT.images),
        tables=packed_of(LAYOUT.image_table),
        split=lambda wildcards: LAYOUT.split(SEARCHES[wildcards.search].dataset),
        init_weights=lambda wildcards: init_weights_of(SEARCHES[wildcards.search]),
    output:
        trial=LAYOUT.trial("{search}", "{run}"),
    log:
        f"{TUNING}/trials/{{run}}.log",
    benchmark:
        f"{TUNING}/trials/{{run}}.tsv"
    conda:
        "../../envs/cxrflow.yaml"
    threads: COMPUTE.threads
    resources:
        gpu=min(1, COMPUTE.requested_gpus),
        device=COMPUTE.device,
    params:
        model_id=lambda wildcards: model_of_search(wildcards.search, "trial").path,
        preprocess=as_is(settings_json(STUDY.settings.preprocess)),
        train=lambda wildcards: settings_json(
            replace(STUDY.settings.train, epochs=SEARCHES[wildcards.search].rungs[-1])
        ),
        init_weights=rules.train.params.init_weights,
        folder=TUNING,
        backbone=lambda wildcards: describe_network(SEARCHES[wildcards.search].backbone),
        code=code_hash("trial"),
    message:
        "run {wildcards.run} of {wildcards.search}"
    shell:
        "python scripts/trial.py --asked {input.asked:q} --run {wildcards.run} --images {input.images:q}"
        " --split {input.split:q} --model-id {params.model_id:q} {params.init_weights:q}"
        " --preprocess {params.preprocess:q} --train {params.train:q} --device {resources.device:q} --threads {threads}"
        " --folder {params.folder:q} --trial {output.trial:q} > {log:q} 2>&1"


rule choose_settings:
    input:
        trials=lambda wildcards: trials_before(wildcards.search),
    output:
        best=LAYOUT.tuned("{search}"),
        picture=report(LAYOUT.tuning_picture("{search}"), category="Tuning", labels={"search": "{search}"}),
    log:
        f"{TUNING}/choose_settings.log",
    localrule: True  # shorter than the wait for a job of its own
    conda:
        "../../envs/cxrflow.yaml"
    params:
        tune=lambda wildcards: settings_json(SEARCHES[wildcards.search]),
        preprocess=rules.ask.params.preprocess,
        train=rules.ask.params.train,
        resume=f"{TUNING}/resume",
        code=code_hash("choose_settings"),
    message:
        "choose the settings of {wildcards.search}"
    shell:
        "python scripts/choose_settings.py --tune {params.tune:q} --preprocess {params.preprocess:q}"
        " --train {params.train:q} --trials {input.trials:q} --resume {params.resume:q} --picture {output.picture:q}"
        " --best {output.best:q} > {log:q} 2>&1"
