"""What handlers are given: by these names `build_admin_app` provides them."""

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from podium.control.plane import ControlPlane

__all__ = ["Author", "Plane"]

Plane = NamedDependency[SkipValidation[ControlPlane]]
Author = NamedDependency[str]  # under which name a change is recorded
