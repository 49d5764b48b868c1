"""The table of readers: what each one reads, and what a reader of the scores must know about that published set.

Add a reader here, and its module with `list_images` in scripts/cxrflow/data/readers/. Keyed by the reader, so that a
note holds whatever name a config gives the dataset. Facts are the owners', as of their pages:
kaggle.com/datasets/tawsifurrahman/covid19-radiography-database, data.mendeley.com/datasets/rscbjbr9sj (version 2),
nihcc.app.box.com/v/ChestXray-NIHCC and Wang et al. 2017. Imports nothing: a dry run reads it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reader:
    """One way in which a dataset lies on disk.

    Attributes:
        title: the layout's name, for people.
        layout: what the dataset's folder should contain, as a phrase that fits after "put ... into it".
        module: its module in cxrflow.data.readers.
        published_counts: images per class of the whole published set after this reader's rule; empty: not one set.
        is_ruled_by_classes: which images are selected depends on which classes are kept, and not their names alone.
        weakness: what weakens every score on the set, in a few words; empty: nothing is known.
        caution: the same in a sentence that follows the dataset's name.
        terms: under which its owners give it.
        own_settings: keys of a dataset's settings that no other reader reads.
    """

    title: str
    layout: str
    module: str
    published_counts: dict[str, int] = field(default_factory=dict)
    is_ruled_by_classes: bool = False
    weakness: str = ""
    caution: str = ""
    terms: str = ""
    own_settings: tuple[str, ...] = ()

    def count_published(self, classes: Mapping[str, str], findings: Sequence[str] = ()) -> dict[str, int]:
        """Return the published images per class where a config keeps these; empty where nobody counted them."""
        if findings:
            return {}
        renamed = set(classes) == set(self.published_counts) and len(set(classes.values())) == len(classes)
        known = set(classes) <= set(self.published_counts) and (renamed or not self.is_ruled_by_classes)
        counts = Counter[str]()
        for label, name in (classes or {label: label for label in self.published_counts}).items():
            counts[name] += self.published_counts.get(label, 0)
        return dict(counts) if known or not classes else {}


READERS = {
    "covid_radiography": Reader(
        title="COVID-19 Radiography Database",
        layout="COVID-19_Radiography_Dataset/ as Kaggle publishes it",
        module="covid_radiography",
        published_counts={"COVID": 3616, "Normal": 10192, "Viral Pneumonia": 1345},
        weakness="Sources differ by class.",
        caution=(
            "was put together from several collections, most classes from collections of their own (the viral pneumonia"
            " is the paediatric set, most normal images are the RSNA's, which are the NIH's): a model can score by"
            " recognising the source, without looking at the disease."
        ),
        terms=(
            "Its owners ask for both articles (Chowdhury et al. 2020, Rahman et al. 2021) to be cited. The images"
            " remain under the terms of the collections that they were taken from."
        ),
    ),
    "kermany": Reader(
        title="Kermany et al., paediatric pneumonia",
        layout="chest_xray/ as Mendeley Data or Kaggle publishes it",
        module="kermany",
        published_counts={"bacterial": 2780, "normal": 1583, "viral": 1493},
        weakness="Children only.",
        caution="shows children of one to five years from one hospital: nothing follows for adults or elsewhere.",
        terms="CC BY 4.0: free to use with attribution (Kermany, Zhang, Goldbaum 2018, doi:10.17632/rscbjbr9sj).",
    ),
    "nih": Reader(
        title="NIH ChestX-ray14",
        layout="Data_Entry_2017.csv and images_001/ to images_012/ as the NIH publishes them",
        module="nih",
        published_counts={
            "Atelectasis": 5316,
            "Effusion": 5623,
            "Infiltration": 11622,
            "Mass": 2630,
            "No Finding": 24907,
            "Nodule": 3187,
            "Pneumothorax": 2752,
        },
        is_ruled_by_classes=True,
        weakness="Labels are mined.",
        caution=(
            "has labels mined from the text of radiology reports, which its authors expect to be right in more than"
            " 90 % of cases: part of what counts as an error here is the label's."
        ),
        terms=(
            "No restrictions on use; the owners ask for a link to nihcc.app.box.com/v/ChestXray-NIHCC, a citation of"
            " Wang et al. 2017 (CVPR), and the acknowledgement that the NIH Clinical Center provided the data."
        ),
        own_settings=("findings",),
    ),
    "folders": Reader("one folder per class", "one folder of images per class", "folders"),
    "csv": Reader(
        "a table and images",
        "a CSV table and the images it names",
        "csv_table",
        own_settings=("table", "image_column", "label_column", "patient_column", "split_column"),
    ),
}
PHANTOM_READERS = {"covid": "covid_radiography", "pneumonia": "kermany", "xray8": "nih"}  # phantoms: {folder: reader}


@dataclass(frozen=True)
class SharedImages:
    """Images that one published set took from another, as is written: a hypothesis, which only an audit can count.

    Attributes:
        taker: reader of the set that took them.
        label: its class that they are in.
        origin: reader of the set that they come from.
        n_images: how many of the class's published images.
        n_origin: of how many of the other set.
        words: why, as a phrase that follows "because".
        is_traced: the search for copies sees all of them: the origin names its patients, and a dataset of it has all
            images of each, so that no other image of a patient can be in it unseen.
    """

    taker: str
    label: str
    origin: str
    n_images: int
    n_origin: int
    words: str
    is_traced: bool


# Counts and origins: the page of the taker on Kaggle. The RSNA took the 30,000 exams of its challenge from the NIH set:
# Shih et al. 2019, Radiol. Artif. Intell. 1:e180041.
SHARED_IMAGES = (
    SharedImages(
        "covid_radiography",
        "Viral Pneumonia",
        "kermany",
        1345,
        5856,
        "all 1,345 viral pneumonia images of the COVID-19 Radiography Database are said to be the paediatric set's",
        is_traced=True,
    ),
    SharedImages(
        "covid_radiography",
        "Normal",
        "kermany",
        1341,
        5856,
        "1,341 normal images of the COVID-19 Radiography Database are said to be the paediatric set's",
        is_traced=True,
    ),
    SharedImages(
        "covid_radiography",
        "Normal",
        "nih",
        8851,
        112120,
        "8,851 of the 10,192 normal images of the COVID-19 Radiography Database are said to be of the RSNA's challenge,"
        " whose images are the NIH's",
        is_traced=False,
    ),
)


def list_shared(first: str, second: str) -> list[SharedImages]:
    """Return what is written about images that the published sets of two readers have in common."""
    return [each for each in SHARED_IMAGES if {each.taker, each.origin} == {first, second}]
