from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cxrflow.data.capping import choose_patients, rank_patients
from cxrflow.data.readers.base import Candidate


def candidates(*patients):
    """Build candidates from one text per patient, a letter per image: its class."""
    return [
        Candidate(f"p{number}i{place}", "", label, f"p{number}", "")
        for number, labels in enumerate(patients)
        for place, label in enumerate(labels)
    ]


def test_patients_stay_whole_and_order_does_not_matter():
    images = candidates("aa", "ab", "b", "aaa", "b")
    ranked = rank_patients(images, seed=1)
    assert ranked == rank_patients(images[::-1], seed=1)
    assert sorted(len(patient) for patient in ranked) == [1, 1, 2, 2, 3]
    assert {len({image.patient_id for image in patient}) for patient in ranked} == {1}


def test_another_seed_gives_another_order():
    images = candidates(*"abababababab")
    assert rank_patients(images, seed=1) != rank_patients(images, seed=2)


def test_more_patients_do_not_reorder_the_others():
    few, many = candidates(*["a"] * 10), candidates(*["a"] * 30)
    order = [patient[0].patient_id for patient in rank_patients(many, seed=0)]
    assert [name for name in order if int(name[1:]) < 10] == [
        patient[0].patient_id for patient in rank_patients(few, 0)
    ]


def test_a_patient_that_would_overshoot_is_passed_over():
    patients = [candidates("aa"), candidates("aaa"), candidates("a"), candidates("bbbb")]
    chosen, passed_over = choose_patients(patients, {}, cap=3)
    assert [len(patient) for patient in chosen] == [2, 1]
    assert [len(patient) for patient in passed_over] == [3, 4]


def test_a_full_class_keeps_a_patient_of_two_classes_out():
    chosen, _ = choose_patients([candidates("ab"), candidates("b")], {"a": 2}, cap=2)
    assert [patient[0].label for patient in chosen] == ["b"]


@given(st.lists(st.text("abc", min_size=1, max_size=6), max_size=30), st.integers(1, 8))
def test_no_class_exceeds_the_cap_and_nobody_who_fits_is_left_out(patients, cap):
    chosen, passed_over = choose_patients(rank_patients(candidates(*patients), seed=0), {}, cap)
    counts = Counter(image.label for patient in chosen for image in patient)
    assert all(n <= cap for n in counts.values())
    for patient in passed_over:
        assert any(counts[label] + n > cap for label, n in Counter(image.label for image in patient).items())
