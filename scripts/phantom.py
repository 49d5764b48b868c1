r"""Synthesise chest X-rays in the published layouts of the three datasets, to try everything with no data at all.

No patient, no photograph: every phantom is computed from a seed, each class with the signs it is known for, and a known
handful of files is as defective as published ones are. No score on them says anything about patients.

Reads nothing but the list of files that an earlier run wrote into the same folder, which it removes first. Writes
covid/, pneumonia/ and xray8/ below the folder, lesion_masks/ in each, and last the manifest.

    python scripts/phantom.py --folder data/phantoms --manifest data/phantoms/manifest.json \
        --settings '{"images_per_class": 120, "size_scale": 0.25, "seed": 0}'
"""

from cxrflow.config.settings import PhantomSettings
from cxrflow.config.stages import Output, OutputFolder, run_stage
from phantoms.write import write_phantoms


def make_phantoms(*, folder: OutputFolder, settings: PhantomSettings, manifest: Output, threads: int = 2) -> None:
    """Synthesise the three datasets.

    folder: Where to: an empty folder, or one that an earlier run wrote into.
    settings: How many, how large, which seed.
    manifest: JSON with the counts per class, the defects, and one SHA-256 over all files.
    threads: Processes that compute; the images do not depend on it.
    """
    content = write_phantoms(folder, settings, manifest, processes=threads)
    for dataset, counts in content["counts"].items():
        kept = ", ".join(f"{label} {fates['kept']}" for label, fates in counts.items() if "kept" in fates)
        print(f"{dataset}: {kept}")
    print(f"{len(content['defects'])} defects on purpose, {content['n_files']} files, sha256 {content['sha256'][:16]}")


if __name__ == "__main__":
    run_stage(make_phantoms)
