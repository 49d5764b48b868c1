# At the start of a run: what would fail or cost much stops it, and the Slurm plugin learns what it does not know.
import math


def check_partitions():
    """Stop before the first job where no partition takes one, which the Slurm plugin would send to the default one."""
    site_file = getattr(workflow.executor_settings, "partition_config", None)
    if site_file is None:
        return
    from cxrflow.operate.jobs import Job, Profile, read_partitions

    profile = Profile(site_file, True, "jobs", 1, site_file=site_file, partitions=read_partitions(site_file))
    dag = workflow.persistence.dag
    for job in {dag.get_job_group(job) or job for job in dag.needrun_jobs()}:
        name = job.name if job.is_group() else job.rule.name
        try:
            profile.partition_of(Job(name, threads=job.threads, resources=dict(job.resources.items())))
        except CxrflowError as error:
            raise WorkflowError(str(error)) from None


def check_repeats():
    """Stop before the first job where finished trainings of many hours would run again, unasked."""
    from cxrflow.operate.planning import describe_repeats

    dag = workflow.persistence.dag
    reasons = [(job, dag.reason(job)) for job in dag.needrun_jobs()]
    jobs = [(job.rule.name, [*job.output], str(reason)) for job, reason in reasons if not reason.forced]
    if told := describe_repeats(jobs, COMPUTE.repeat_hours):
        raise WorkflowError(told)


def known_to_slurm(job):
    """A job, or a group of jobs that share a Slurm job, as the modules of scripts/cxrflow/operate know it."""
    from cxrflow.operate.jobs import Job

    if job.is_group():
        return Job(job.name, members=tuple(map(known_to_slurm, job)))
    return Job(job.rule.name, log=str(next(iter(job.log), "")), wildcards=dict(job.wildcards.items()))


def retry_by_cause():
    """Let a job's next attempt ask for what the last one lacked, and do not repeat what would fail in the same way."""
    import snakemake.jobs
    import snakemake_executor_plugin_slurm

    from cxrflow.operate.retrying import Attempt, find_failure
    from cxrflow.operate.states import look

    def restart_times(job):  # Snakemake asks once for each failure, and then adds one to the job's attempt
        times = max(each.rule.restart_times for each in (job if job.is_group() else [job]))
        if job.is_local or not times:
            return times
        known = known_to_slurm(job)
        failure = find_failure(known, look(Path.cwd()))
        logger.info(f"{known.title}: {failure}")
        job.attempt = Attempt.after(job.attempt, failure.cause)
        return 0 if failure.cause == "program" else times

    snakemake.jobs.Job.restart_times = snakemake.jobs.GroupJob.restart_times = property(restart_times)

    ask = snakemake_executor_plugin_slurm.query_job_status

    async def ask_states(*query):  # the plugin would wait for ever for a job that was preempted and not requeued
        states, seconds = await ask(*query)
        return {
            job: state.replace("PREEMPTED", "CANCELLED") for job, state in (states or {}).items()
        } or states, seconds

    snakemake_executor_plugin_slurm.query_job_status = ask_states


def go_on_in_shared_jobs():
    """Let the other models of a Slurm job go on where one fails, and keep what they have made: Snakemake would stop,
    and remove the outputs of all. And let it ask for no more time than a partition has."""
    from snakemake.jobs import GroupJob

    from cxrflow.operate.jobs import Job, read_partitions

    site_file, executor = workflow.executor_settings.partition_config, workflow.scheduler._executor
    limits = [each.limits for each in read_partitions(site_file)] if site_file else []
    resources, postprocess, more_args = GroupJob.resources, GroupJob.postprocess, executor.additional_general_args

    def limit_time(group):  # to the sum of its jobs' times; what is left then is done by the next attempt
        asked = resources.fget(group)
        gpus = Job(group.name, resources=dict(asked.items())).gpus
        longest = max((each.max_runtime for each in limits if bool(each.max_gpu) == bool(gpus)), default=math.inf)
        group._resources["runtime"] = int(min(asked.get("runtime"), longest))
        return resources.fget(group)

    def is_finished(job):  # in the Slurm job, as its mark with the id of that is gone
        return all(map(os.path.exists, job.output)) and not workflow.persistence.external_jobids(job)

    async def postprocess_group(group, error=False, **more):
        if not error:
            return await postprocess(group, **more)
        for job in group:
            if not is_finished(job):
                await job.postprocess(error=True, **more)

    GroupJob.resources, GroupJob.postprocess = property(limit_time), postprocess_group
    executor.additional_general_args = lambda: f"{more_args()} --keep-going"


def take_over_jobs(name):
    """Wait for the jobs that the last head of a chain has left, under its name, instead of submitting them again.

    A job that it submitted before code, settings or packages changed is left alone: a second one is submitted.
    """
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    from cxrflow.config.environment import list_places
    from cxrflow.operate.recovering import is_up_to_date
    from cxrflow.operate.slurm import list_jobs
    from cxrflow.operate.states import comment_of, slurm_log_of

    executor, dag = workflow.scheduler._executor, workflow.persistence.dag
    executor.run_uuid = name
    inputs = [*Path(SCRIPTS).rglob("*.py"), *map(Path, workflow.configfiles), *Path("profiles/slurm").glob("*.yaml")]
    changed_s = max(*(path.stat().st_mtime for path in inputs), *(ns / 1e9 for ns in list_places().values()))
    left = {each.comment: each for each in list_jobs(Path.cwd()) if each.name == name and each.is_active}
    for job in dag.needrun_jobs():
        if comment_of(known_to_slurm(dag.get_job_group(job) or job)) in left:
            dag._priority[job] = job.HIGHEST_PRIORITY  # they count among `jobs` before any other is submitted
    submit = executor.run_job

    def run_job(job):
        mine = left.pop(comment_of(known_to_slurm(job)), None)
        if mine is None or not is_up_to_date(mine, changed_s):
            return submit(job)
        logger.info(f"Job {job.jobid} runs already, as SLURM job {mine.job_id} of the last head: it is taken over.")
        log = {"slurm_logfile": slurm_log_of(known_to_slurm(job), Path.cwd(), mine.job_id)}
        executor._report_job_submission_threadsafe(SubmittedJobInfo(job, external_jobid=mine.job_id, aux=log))

    executor.run_job = run_job
