from podium.core.resources import Model
from podium.delivery.choose import Choice, choose_version


def test_a_model_is_served_by_its_declared_version():
    assert choose_version(Model(version="chat@1")) == ("chat@1", Choice.DECLARED)
