"""Which category of one file is which of another."""

from roikit.trainer.categories import pair_categories


def named(**names):
    return [{"id": i, "name": name} for name, i in names.items()]


def test_contract_equal_lists_differ_in_nothing():
    pairing = pair_categories(named(bolt=1, nut=2), named(nut=2, bolt=1))
    assert pairing.ids == [1, 2] and pairing.by == "name" and not pairing.differ


def test_contract_names_decide_where_ids_are_exchanged():
    pairing = pair_categories(named(bolt=1, nut=2), named(bolt=2, nut=1))
    assert pairing.ids == [2, 1] and pairing.differ
    assert "2 categories" in pairing.text() and "by name: bolt (1) is bolt (2), nut (2) is nut (1)" in pairing.text()


def test_contract_what_is_in_one_only_is_said():
    pairing = pair_categories(named(bolt=1, nut=2, pin=3), named(gear=1, Nut=3, bolt=4), sides=("train", "val"))
    assert pairing.ids == [4, 3, None]
    assert "only in train: pin" in pairing.text() and "only in val: gear" in pairing.text()


def test_contract_ids_decide_where_names_do_not():
    for theirs in ([{"id": 2}, {"id": 1}], [{"id": 1, "name": "bolt"}, {"id": 2, "name": "bolt"}]):
        pairing = pair_categories(named(bolt=1, nut=2), theirs)
        assert pairing.ids == [1, 2] and pairing.by == "id"
    other = pair_categories(named(bolt=1), named(screw=1))
    assert other.ids == [1] and other.differ and "by id: bolt (1) is screw (1)" in other.text()
    assert pair_categories(named(bolt=1), named(screw=2)).ids == [None]


def test_contract_a_category_that_was_renamed_is_said():
    pairing = pair_categories(named(bolt=1, nut=2, car=3, pin=4), named(bolt=1, nut=2, auto=3, gear=5))
    assert pairing.ids == [1, 2, None, None]
    assert pairing.text().endswith("only in the model: car, pin; only in the file: auto, gear; "
                                   "car and auto have one id, 3")
    assert "one id" not in pair_categories(named(bolt=1, car=3), named(bolt=1, auto=4)).text()


def test_contract_names_that_are_ids_are_names_only_where_both_lists_have_them():
    without = named(**{str(i): i for i in (1, 2, 3)})  # as a training set without names is saved
    for theirs in (named(**{"0": 1, "1": 2, "2": 3}), named(**{"1": 3, "x": 1})):
        for ours, other in ((without, theirs), (theirs, without)):
            pairing = pair_categories(ours, other)
            assert pairing.by == "id" and all(i in (c["id"], None) for c, i in zip(ours, pairing.ids, strict=True))
    digits = named(**{str(i): i for i in range(10)})
    assert pair_categories(digits, named(**{str(i): i + 1 for i in range(10)})).ids == list(range(1, 11))


def test_contract_one_category_is_singular():
    assert pair_categories(named(bolt=1, nut=2), named(bolt=5)).text().startswith(
        "1 category of the model and the file is paired by name: ")


def test_contract_case_space_and_accents_do_not_part_names_unless_they_must():
    assert pair_categories(named(**{"Schl\u00fcssel": 1}), named(**{" schlu\u0308ssel": 5})).ids == [5]
    assert pair_categories(named(A=1, a=2), named(a=1, A=2)).ids == [2, 1]


def test_contract_long_lists_are_cut_in_the_text():
    ours, theirs = ([{"id": i, "name": f"c{i}"} for i in part] for part in (range(30), range(1)))
    assert pair_categories(ours, theirs).text().endswith("and 21 more")
