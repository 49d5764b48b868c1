# cxrflow: from raw chest X-rays to the report, in the order of the data.
#
#   snakemake --profile profiles/demo                                              synthetic X-rays, no data needed
#   snakemake --profile profiles/local --configfile=config/quick.yaml              a quick look at your own data
#   snakemake --profile profiles/slurm --configfile=config/lungs.yaml -n           plan the full study on a cluster
#
# Ask for one file by its name and get just that, or for one of the targets below (data, models, tune, exports, summary).


include: "workflow/rules/common.smk"
include: "workflow/rules/slurm.smk"  #    what a run does before its first job, on a cluster and elsewhere


report: "workflow/report/workflow.rst"


include: "workflow/rules/data.smk"  #     phantom, index, copies, split, lungs, preprocess, samples
include: "workflow/rules/train.smk"  #    convert_weights, fetch_weights, train


if STUDY.has_findings:  # an image may have several labels: a shorter way from here

    include: "workflow/rules/findings.smk"  # evaluate_findings, score_findings, report_findings

else:

    include: "workflow/rules/tune.smk"  #     ask, trial, choose_settings
    include: "workflow/rules/evaluate.smk"  # evaluate, probe, score
    include: "workflow/rules/summary.smk"  #  profile_backbone, select_models, summarize, report
    include: "workflow/rules/deliver.smk"  #  export, deliver


include: "workflow/rules/plan.smk"  #     what scripts/plan.py reads


rule all:
    default_target: True
    input:
        LAYOUT.report(),
        # What the report is made of, so that a file that was deleted is made again; packed images only if they are needed.
        collect([*rules.index.output, *rules.split.output], dataset=DATASETS),
        rules.copies.output,
        collect(
            LAYOUT.model_file("{model.path}", "{file}"),
            model=MODELS,
            file=[Path(path).name for rule in (rules.train, *OF_MODEL) for path in rule.output],
        ),
        REPORT.input,
        TUNED,


rule data:
    input:
        collect(rules.split.output, dataset=DATASETS),
        collect(IMAGES, dataset=DATASETS, recipe=STUDY.recipe()),
        collect(rules.samples.output, dataset=DATASETS, recipe=STUDY.recipe()),


rule weights:  # what models start from, where there is internet; a run does the same by itself
    input:
        sorted({init_weights_of(m) for m in MODELS if m.init == IMAGENET or m.init.startswith(FROM_WEIGHTS)}),


rule models:
    input:
        collect(LAYOUT.model_file("{model.path}", "metrics.json"), model=MODELS),


rule tune:
    input:
        TUNED,


rule summary:
    input:
        SUMMARY.output,


onstart:
    is_cluster = hasattr(workflow.executor_settings, "partition_config")  # the Slurm plugin's
    if is_cluster and SHARED_JOBS:
        go_on_in_shared_jobs()
    check_partitions()
    check_repeats()
    if is_cluster:
        retry_by_cause()
        if chain := os.environ.get("CXRFLOW_RUN"):  # profiles/slurm/head.sbatch
            take_over_jobs(chain)
    # Before any job: an opening of test rows leaves the SHA-256 of the plan in force on record.
    plan_config, plan_file = settings_json(STUDY.settings_without_places()), LAYOUT.analysis_plan()
    plan_log = plan_file.with_suffix(".log")
    plan_file.parent.mkdir(parents=True, exist_ok=True)
    shell("python scripts/analysis_plan.py --config {plan_config:q} --plan {plan_file:q} > {plan_log:q} 2>&1")
    # scripts/recover.py reads it: the log's own line "Command" has lost the quotes
    logger.info(f"To start this run again: {shlex.join(['snakemake', *sys.argv[1:]])}")


onerror:
    if "unfinished" not in STUDY.settings.leave_out and any(
        not find_obstacle(STUDY, LAYOUT, each) for each in MODELS
    ):
        print(
            "\nFor a page of what is finished, which says what is missing, add 'leave_out=[unfinished]' to --config"
        )


onsuccess:
    found = read_tuned(STUDY.settings)
    if any(STUDY.settings.variants.get(name) != variant for name, variant in found.items()):
        print(
            "\nSearches have found settings: run the same command again for the models that are trained with them"
        )
    if LAYOUT.report().exists():
        print(f"\nThe report: {LAYOUT.report().resolve()}")
