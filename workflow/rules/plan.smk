# What scripts/plan.py asks of a dry run: jobs printed with their files and resources instead of with their messages,
# and which rules run where Snakemake does, which a dry run does not print.
if "CXRFLOW_PLAN" in os.environ:
    for each in workflow.rules:
        each.message = None
    print("local rules:", ", ".join(each.name for each in workflow.rules if each.ruleinfo.localrule))
