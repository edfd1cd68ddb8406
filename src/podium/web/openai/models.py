"""`GET /v1/models` and `GET /v1/models/{id}`: what this key may use."""

from podium.core.resources import Model
from podium.gateway.flight import View
from podium.gateway.stages import model_not_found
from podium.gateway.world import Principal, World
from podium.wire.openai import encode_json, model_list, model_object

__all__ = ["list_models", "one_model"]


def list_models(world: World, principal: Principal) -> bytes:
    """Every model that the key may use; aliases stand as models of their own."""
    created = int(world.snapshot.published_unix_s)
    may_use = principal.permissions.may_use
    shown = [
        (public, model)
        for name, model in sorted(world.models.items())
        for public in (name, *model.aliases)
        if may_use(name) or may_use(public)
    ]
    return model_list([_object(name, model, created) for name, model in shown])


def one_model(name: str) -> View:
    """The view of one model; NotFound when the key may not use it."""

    def render(world: World, principal: Principal) -> bytes:
        found = world.model(name)
        if found is None or not (principal.permissions.may_use(found[0]) or principal.permissions.may_use(name)):
            raise model_not_found(name)
        return encode_json(_object(name, found[1], int(world.snapshot.published_unix_s)))

    return render


def _object(name: str, model: Model, created: int) -> dict[str, object]:
    return model_object(name, owned_by=model.owned_by, created_unix_s=created)
