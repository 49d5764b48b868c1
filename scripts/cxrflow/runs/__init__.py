"""What a person asks about a run: how far it is, what a dead Snakemake left behind, whether a cluster is ready.

Nothing here computes a result; no stage imports it.
"""
