"""What a reader must know about each published set before believing a score on it, and its terms of use.

Keyed by who reads the set, so that it holds whatever a config calls it. Facts are the owners', as of their pages:
kaggle.com/datasets/tawsifurrahman/covid19-radiography-database, data.mendeley.com/datasets/rscbjbr9sj (version 2),
nihcc.app.box.com/v/ChestXray-NIHCC and Wang et al. 2017.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetNote:
    """One published set.

    Attributes:
        head: its weakness in a few words.
        caution: what weakens every score on it, after its name.
        terms: under which its owners give it.
        shares_images_with: readers of the sets that have images in common with it.
    """

    head: str
    caution: str
    terms: str
    shares_images_with: tuple[str, ...] = ()


DATASET_NOTES = {
    "covid_radiography": DatasetNote(
        head="Sources differ by class.",
        caution=(
            "was put together from several collections, most classes from collections of their own (the viral pneumonia"
            " is the paediatric set): a model can score by telling the sources apart, with no look at the disease."
        ),
        terms=(
            "Its owners ask for both articles (Chowdhury et al. 2020, Rahman et al. 2021) to be cited. The images"
            " remain under the terms of the collections that they were taken from."
        ),
        shares_images_with=("kermany",),
    ),
    "kermany": DatasetNote(
        head="Children only.",
        caution="shows children of one to five years from one hospital: nothing follows for adults or elsewhere.",
        terms="CC BY 4.0: free to use with attribution (Kermany, Zhang, Goldbaum 2018, doi:10.17632/rscbjbr9sj).",
        shares_images_with=("covid_radiography",),
    ),
    "nih": DatasetNote(
        head="Labels are mined.",
        caution=(
            "has labels mined from the text of radiology reports, which its authors expect to be right in more than"
            " 90 % of cases: part of what counts as an error here is the label's."
        ),
        terms=(
            "No restrictions on use; the owners ask for a link to nihcc.app.box.com/v/ChestXray-NIHCC, a citation of"
            " Wang et al. 2017 (CVPR), and the acknowledgement that the NIH Clinical Center provided the data."
        ),
    ),
}
