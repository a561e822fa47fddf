"""`fedpoison doctor` tells what is there, and what does not fit."""

from fedpoison.cli.doctor import check_pair


def test_doctor_tells_what_is_there(fedpoison):
    _, out, _ = fedpoison("doctor")
    assert all(word in out for word in ("torch", "data set digits", "hardware", "belong together"))


def test_doctor_explains_a_torch_that_does_not_fit():
    assert not check_pair("2.15.0", ["torch==2.15.0", "numpy"]).remedy
    assert "install the two together" in check_pair("2.14.0", ["torch==2.15.0"]).remedy
    assert "CPU-only" in check_pair("2.15.0+cpu", ["torch==2.15.0"]).found
