from pathlib import Path

from podium.core.layout import DataFolder


def test_everything_is_inside_the_folder_and_at_a_place_of_its_own():
    folder = DataFolder(Path("data"))
    names = [name for name, value in vars(DataFolder).items() if isinstance(value, property)]
    places = [getattr(folder, name) for name in names]

    assert all(place.parent == folder.path for place in places)
    assert len(set(places)) == len(places) >= 8
