"""The examples with own data run, and show what they say."""

from experiments.examples.own_data import images, own_model, table


def test_a_table_with_hospitals_is_learned_and_defended(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table.write_table(tmp_path / "tumours.csv")
    found = table.compare(tmp_path / "tumours.csv", rounds=4, jobs=1)
    accuracy = found.table("accuracy")
    assert found.class_labels == ["0 benign", "1 malignant"]
    assert accuracy.loc["none"].min() > 0.9
    assert accuracy.loc["sign-flip", "median"] > accuracy.loc["sign-flip", "fedavg"]


def test_a_backdoor_on_a_folder_of_images_is_withstood(tmp_path):
    images.draw_images(tmp_path / "shapes", count=30)
    found = images.compare(tmp_path / "shapes", rounds=2, jobs=1)
    assert found.class_labels == ["0 circle", "1 square", "2 triangle"]
    success = found.table("success").iloc[1]
    assert success["fedavg"] > success["median"] + 0.3


def test_an_own_model_with_batch_normalisation_learns_from_a_folder_of_images(tmp_path):
    images.draw_images(tmp_path / "shapes", count=60)
    chosen = {"attacks": ("none", "scaled-update"), "strategies": ("fedavg", "multi-krum")}
    accuracy = own_model.compare(tmp_path / "shapes", **chosen, rounds=6, jobs=1).table("accuracy")
    assert accuracy.loc["none"].min() > 0.45  # guessing gives a third
    assert accuracy.loc["scaled-update", "multi-krum"] > accuracy.loc["scaled-update", "fedavg"]
