from collections import Counter, defaultdict

import numpy as np

from cxrflow.data.capping import rank_images
from cxrflow.data.readers.base import Candidate


def candidates(*patients):
    """Build candidates from one text per patient, a letter per image: its class."""
    return [
        Candidate(f"p{number}i{place}", "", label, f"p{number}", "")
        for number, labels in enumerate(patients)
        for place, label in enumerate(labels)
    ]


def test_each_class_is_ranked_alone_and_the_order_of_files_does_not_matter():
    images = candidates("aa", "ab", "b", "aaa", "b")
    ranked = rank_images(images, seed=1)
    assert {label: len(of) for label, of in ranked.items()} == {"a": 6, "b": 3}
    assert ranked == rank_images(images[::-1], seed=1)
    assert ranked != rank_images(images, seed=2)


def test_more_patients_do_not_reorder_the_others():
    few, many = candidates(*["aa"] * 10), candidates(*["aa"] * 30)
    known = {image.image_id for image in few}
    assert [image for image in rank_images(many, seed=0)["a"] if image.image_id in known] == rank_images(few, 0)["a"]


def test_a_patient_has_the_same_place_in_every_class():
    ranked = rank_images(candidates(*["aabb"] * 20), seed=0)
    orders = [[image.patient_id for image in images[::2]] for images in ranked.values()]
    assert orders[0] == orders[1]


def test_the_kept_patients_of_a_class_have_its_other_labels_as_often_as_all_of_them():
    """The cap once kept patients only where every one of their classes had room: few had an image of a large class."""
    random = np.random.default_rng(0)
    patients = ["rc"] * 900 + ["r"] * 100 + ["rrc"] * 200 + ["c"] * 5000  # r is rare, c is common
    images = candidates(*random.permutation(patients))
    cap = 300
    kept = [image for of in rank_images(images, seed=0).values() for image in of[:cap]]
    assert Counter(image.label for image in kept) == {"c": cap, "r": cap}
    labels = defaultdict(set)
    for image in images:
        labels[image.patient_id].add(image.label)
    rare = {image.patient_id for image in kept if image.label == "r"}
    share, n = 1100 / 1200, len(rare)
    assert abs(np.mean(["c" in labels[patient] for patient in rare]) - share) < 3 * np.sqrt(share * (1 - share) / n)
