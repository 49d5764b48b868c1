r"""Write down what a study will ask and how it will decide. A check says whether test rows were opened earlier.

Reads the settings alone; adds the plan, its SHA-256 and the time to analysis_plan.json unless it is there already.

    python scripts/analysis_plan.py --plan results/demo/analysis_plan.json \
        --config '{"study": "demo", "datasets": {"covid": {"reader": "covid_radiography", "folder": "covid"}}}'
"""

from cxrflow.checks.cautions_plan import plan_analysis, write_plan
from cxrflow.config.settings import StudySettings
from cxrflow.config.stages import Output, run_stage


def write_analysis_plan(*, config: StudySettings, plan: Output) -> None:
    """Write the plan; one that has not changed keeps its time.

    config: the whole study's settings, as JSON.
    plan: analysis_plan.json to write; earlier versions in it are kept
    """
    in_force = write_plan(plan, plan_analysis(config))
    print(f"plan {in_force['sha256']} of {in_force['time']}")


if __name__ == "__main__":
    run_stage(write_analysis_plan)
