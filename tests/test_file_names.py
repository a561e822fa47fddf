"""Names of files stay within what file systems take."""

from fedpoison.file_names import file_name


def test_long_names_are_cut_and_stay_apart():
    names = [f"{'centered-clipping-' * 20}({knob})" for knob in "ab"]
    one, two = map(file_name, names)
    assert len(one) == len(two) < 170
    assert one != two
    assert one.startswith("centered-clipping-centered-clipping")
    assert file_name(names[0]) == one
