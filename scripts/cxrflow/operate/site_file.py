"""What site.yaml should say of this cluster and why, and how that is put into the file beside what a person wrote.

A line that this module wrote ends with what the cluster has, `max_runtime: 1440  # cluster: 1440`. A value that differs
from that is a person's and stays, and so do all lines without it; the other lines follow the cluster.
"""

import re
from collections.abc import Mapping, Sequence

import yaml

from cxrflow.errors import CxrflowError
from cxrflow.operate import slurm
from cxrflow.operate.cluster_checks import REAL, Finding, build_command, try_command
from cxrflow.operate.jobs import Job
from cxrflow.operate.slurm import NodeGroup, SlurmError

Entry = tuple[str, ...]  # keys from the outermost to the innermost
LINE = re.compile(r"(?P<indent> *)(?P<key>[^\s#:{][^#:]*):(?: +(?P<value>.*?))?(?: *# cluster: (?P<found>.*))?")
COMMENTED = re.compile(r"\s*#\s*([^\s:]+):.*")
ALL = "partitions"
SMALL_JOB: dict[str, int | str] = {"runtime": 10, "mem_mb": 500}  # what any partition takes of a user who may use it


def describe_cluster() -> tuple[dict[Entry, str], list[Finding]]:
    """Return the entries of the site file with their values as YAML, and what was chosen for which reason.

    Raises:
        CxrflowError: Slurm is not there, does not answer, or no partition takes a job of this user.
    """
    account, findings = choose_account()
    job = Job("a small job", resources=SMALL_JOB | ({"slurm_account": account} if account else {}))
    groups = [group for group in slurm.list_partitions() if group.is_up]
    usable = []
    for name in dict.fromkeys(group.partition for group in groups):
        here = [group for group in groups if group.partition == name]
        if why := why_unusable(here, job):
            findings.append(Finding("note", f"partition {name} is left out: {why}"))
        else:
            usable += here
    if not usable:
        raise CxrflowError("no partition takes a job of yours:\n" + "\n".join(map(str, findings)))
    gpu, reason = choose_gpu([group for group in usable if slurm.parse_gpus(group.gres)], job)
    head: dict[Entry, str] = {("account",): quote(account)} if account else {}
    return head | {("gpu",): gpu} | list_limits(usable), [*findings, reason]


def choose_account() -> tuple[str, list[Finding]]:
    """Return the account to charge, empty where Slurm has none for this user, and what else there is."""
    try:
        accounts, qos = slurm.list_accounts()
        default = slurm.find_default_account()
    except SlurmError as error:
        return "", [Finding("note", f"no account is named, as the accounting does not answer: {error}")]
    if not accounts:
        return "", [Finding("note", "no account is named: the accounting has none for you, or there is no accounting")]
    chosen = default if default in accounts else accounts[0]
    why = "your default one" if chosen == default else "the first"
    why = "your only one" if len(accounts) == 1 else f"{why} of {', '.join(accounts)}"
    text = f"qos is left to Slurm; yours: {', '.join(qos)}"
    return chosen, [Finding("OK", f"account {chosen}: {why}"), Finding("OK", text, "to choose one: `qos: NAME`")]


def why_unusable(groups: Sequence[NodeGroup], job: Job) -> str:
    """Return why a partition takes no job of this user; empty: it does, perhaps only with a GPU."""
    if not any(group.is_usable for group in groups):
        return f"no node takes jobs ({', '.join(sorted({group.state for group in groups}))})"
    why = find_refusal(job, groups[0].partition, {})
    has_gpu = any(slurm.parse_gpus(group.gres) for group in groups)
    return "" if has_gpu and why and choose_gpu(groups, job)[0] != "{}" else why


def choose_gpu(groups: Sequence[NodeGroup], job: Job) -> tuple[str, Finding]:
    """Return what a GPU job asks for, as YAML: the first form that sbatch takes, with any model before a chosen one."""
    if not groups:
        return "{}", Finding("note", "no GPU in your partitions", "add --config 'compute={device: cpu}' to Snakemake")
    models = sorted({model for group in groups for model in slurm.parse_gpus(group.gres)} - {""})
    forms: list[dict[str, int | str]] = [{"gpu": 1}, {"gres": "gpu:1"}]
    for model in models:
        forms += [{"gpu": 1, "gpu_model": model}, {"gres": f"gpu:{model}:1"}]
    partitions = dict.fromkeys(group.partition for group in groups)
    why = ""
    for form in forms:
        refusals = [find_refusal(job, name, form) for name in partitions]
        if not all(refusals):
            text = yaml.safe_dump(form, default_flow_style=True, sort_keys=False).strip()
            choice = f"of any model, there is {', '.join(models)}" if models else "the cluster names no model"
            reason = f"; sbatch refuses what comes before it: {why}" if why else ""
            more = f"to choose one: `gpu: {{gpu: 1, gpu_model: {models[0]}}}`" if models and len(form) == 1 else ""
            return text, Finding("OK", f"gpu: {text} is taken, {choice}{reason}", more)
        why = why or refusals[0]
    return "{}", Finding("PROBLEM", f"sbatch takes no GPU job of yours: {why}", "ask the cluster's support")


def find_refusal(job: Job, partition: str, more: Mapping[str, int | str]) -> str:
    """Return why sbatch refuses a job in a partition; empty: it takes it."""
    try:
        try_command(build_command(Job(job.rule, resources={**job.resources, **more}), partition))
    except CxrflowError as error:
        return str(error)
    return ""


def list_limits(groups: Sequence[NodeGroup]) -> dict[Entry, str]:
    """Return the limits of partitions, each the most that any of its nodes has; what has no end has no entry."""
    found: dict[Entry, str] = {}
    for name in dict.fromkeys(group.partition for group in groups):
        for key, (_, read) in REAL.items():
            most = max(read(group) for group in groups if group.partition == name)
            if 0 < most < float("inf"):
                found[ALL, quote(name), key] = f"{most:.0f}"
    return found


def quote(name: str) -> str:
    """Return a name as YAML reads it back as text: `no` and `12` in quotes."""
    return yaml.safe_dump(name).splitlines()[0]


def merge_site(text: str, wanted: Mapping[Entry, str]) -> str:
    """Return a site file's text with the cluster's entries in it, and with all that a person wrote.

    Raises:
        CxrflowError: the file is laid out so that lines cannot be put into it.
    """
    lines = drop_empty(update_lines(text, wanted))
    for entry, value in wanted.items():
        insert_entry(lines, entry, value, is_commented_out(text, entry))
    merged = "".join(f"{line}\n" for _, line in lines)
    try:
        read = yaml.safe_load(merged)
        whole = bool(read[ALL]) and all(isinstance(limits, dict) for limits in read[ALL].values())
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        whole = False
    if not whole:
        raise CxrflowError(f"write `{ALL}:` as a block, one limit a line, as in the repository's site.yaml")
    return merged


def update_lines(text: str, wanted: Mapping[Entry, str]) -> list[tuple[Entry, str]]:
    """Return the lines with the entry that each is, brought up to date; those that the cluster lost are left out."""
    lines: list[tuple[Entry, str]] = []
    parents: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        if match is None:
            lines.append(((), line))
            continue
        indent = len(match["indent"])
        parents = [*(parent for parent in parents if parent[0] < indent), (indent, match["key"])]
        entry = tuple(key for _, key in parents)
        found, now = match["found"], wanted.get(entry)
        is_own = match["value"] != found
        if found is None or (now is None and is_own):
            lines.append((entry, line))
        elif now is not None:
            value = match["value"] if is_own else now
            lines.append((entry, f"{match['indent']}{match['key']}: {value}  # cluster: {now}"))
    return lines


def drop_empty(lines: Sequence[tuple[Entry, str]]) -> list[tuple[Entry, str]]:
    """Leave out partitions of which no limit is left."""
    filled = {entry[:2] for entry, line in lines if len(entry) > 2 or not line.rstrip().endswith(":")}
    return [(entry, line) for entry, line in lines if len(entry) != 2 or entry[0] != ALL or entry in filled]


def is_commented_out(text: str, entry: Entry) -> bool:
    """Return whether an entry's partition stands in a comment below `partitions:`, which keeps it out."""
    below = text.partition(f"\n{ALL}:")[2].splitlines()
    return entry[0] == ALL and any(match[1] == entry[1] for line in below if (match := COMMENTED.fullmatch(line)))


def insert_entry(lines: list[tuple[Entry, str]], entry: Entry, value: str, is_out: bool) -> None:
    """Put in an entry that is not there, unless a person wrote its partition or commented it out."""
    here = [place for place, (found, _) in enumerate(lines) if found[: len(entry) - 1] == entry[:-1] and found]
    is_hand_made = len(entry) > 1 and here and not any("# cluster: " in lines[place][1] for place in here)
    if is_out or is_hand_made or any(found == entry for found, _ in lines):
        return
    new = (entry, f"{'  ' * (len(entry) - 1)}{entry[-1]}: {value}  # cluster: {value}")
    if len(entry) == 1:
        place = next((place for place, (found, _) in enumerate(lines) if found == (ALL,)), len(lines))
        lines.insert(place, new)
    elif here:
        lines.insert(here[-1] + 1, new)
    else:
        if not any(found == (ALL,) for found, _ in lines):
            lines.append(((ALL,), f"{ALL}:"))
        end = max(place for place, (found, _) in enumerate(lines) if found[:1] == (ALL,)) + 1
        lines[end:end] = [(entry[:2], f"  {entry[1]}:"), new]
