"""The table of readers. Add one here; nothing else names a reader. Read without importing numpy.

A dataset laid out as one folder per class, or as a table beside images, needs no reader of its own: `folders` and `csv`
read it with a few lines of YAML.
"""

from cxrflow.data.readers import covid_radiography, csv_table, folders, kermany, nih
from cxrflow.data.readers.base import Reader

READERS = {
    "covid_radiography": Reader(
        title="COVID-19 Radiography Database",
        layout="COVID-19_Radiography_Dataset/ as Kaggle publishes it",
        published_counts={"COVID": 3616, "Normal": 10192, "Viral Pneumonia": 1345},
        list_images=covid_radiography.list_images,
    ),
    "kermany": Reader(
        title="Kermany et al., paediatric pneumonia",
        layout="chest_xray/ as Mendeley Data or Kaggle publishes it",
        published_counts={"bacterial": 2780, "normal": 1583, "viral": 1493},
        list_images=kermany.list_images,
    ),
    "nih": Reader(
        title="NIH ChestX-ray14",
        layout="Data_Entry_2017.csv and images_001/ to images_012/ as the NIH publishes them",
        published_counts={
            "Atelectasis": 5316,
            "Effusion": 5623,
            "Infiltration": 11622,
            "Mass": 2630,
            "No Finding": 24907,
            "Nodule": 3187,
            "Pneumothorax": 2752,
        },
        list_images=nih.list_images,
    ),
    "folders": Reader(
        title="one folder per class",
        layout="one folder of images per class",
        published_counts={},
        list_images=folders.list_images,
    ),
    "csv": Reader(
        title="a table beside images",
        layout="a CSV table and the images it names",
        published_counts={},
        list_images=csv_table.list_images,
    ),
}
