"""What the description promises, held against what the application does."""

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from podium.core.resources import SPECS
from podium.web.admin.openapi import describe

CHECKED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture
def operations(house):
    schema = schemathesis.openapi.from_asgi("/admin/v1/openapi.json", house.app)
    return [result.ok() for result in schema.get_all_operations()]


def test_every_answer_is_one_that_is_described(house, operations):
    assert len(operations) > 15
    answered = set()
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            call = settings(
                max_examples=15,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
            )(given(operation.as_strategy(generation_mode=mode))(_call_with(house, answered, _checks(operation))))
            try:
                call()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE  # an operation without parameters cannot be called wrongly
    assert {200, 400, 404, 409} <= answered


def _checks(operation):
    # An export is a stream of YAML documents, which the tool does not read.
    return CHECKED[:-1] if operation.path.endswith("/export") else CHECKED


def _call_with(house, answered, checks):
    def call(case):
        response = case.call(headers=house.headers)
        answered.add(response.status_code)
        case.validate_response(response, checks=checks)

    return call


def test_the_description_is_open_to_all(stranger):
    assert stranger.get("/admin/v1/openapi.json").json()["openapi"].startswith("3.1")


def test_every_operation_has_a_name_a_summary_and_a_tag(house):
    for path, item in describe(house.app)["paths"].items():
        for operation in item.values():
            assert operation["operationId"].isidentifier(), path
            assert " " in operation["summary"], path
            assert operation["tags"], path


def test_every_guarded_operation_asks_for_the_admin_key(house):
    for path, item in describe(house.app)["paths"].items():
        for operation in item.values():
            assert (operation.get("security") == [{"admin_key": []}]) == path.startswith("/admin/v1/"), path


def test_the_description_has_every_kind_and_no_python_patterns(house):
    described = describe(house.app)
    assert {f"Spec{kind}" for kind in SPECS} <= described["components"]["schemas"].keys()
    assert rb"\\Z" not in msgspec.json.encode(described)
