"""Read every file of a study in full and say which was changed, damaged, lost, or made from what is no longer there.

Reads the records that every stage leaves beside its outputs; writes nothing. Exits 1 if there is a fault.

    python scripts/verify.py --results results/lungs
"""

import sys
from pathlib import Path

from cxrflow.config.stages import run_stage
from cxrflow.files.provenance import verify_files


def verify_study(*, results: Path) -> None:
    """Verify a study.

    results: folder of a study, or of several
    """
    n_files, faults = verify_files(results)
    for line in faults:
        print(line)
    print(f"{n_files:,} files read in {results}: {len(faults) or 'no'} fault{'s' * (len(faults) != 1)}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    run_stage(verify_study)
