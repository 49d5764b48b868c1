# Planning: what need not be worked out for every job, and what scripts/cxrflow/operate/jobs.py asks of a dry run.
import tempfile

# Every rule has the resource tmpdir, and to evaluate its text for every job takes Snakemake longer than all that a rule
# says itself. Each process reads this file where it runs, so a job of a cluster gets the folder of its node.
for each in workflow.rules:
    if getattr(each.resources.get("tmpdir"), "raw", None) == "system_tmpdir":  # the default, and nobody said another
        each.resources["tmpdir"] = tempfile.gettempdir()

# Jobs printed with their files and resources instead of with their messages.
if "CXRFLOW_PLAN" in os.environ:
    for each in workflow.rules:
        each.message = None
