import inspect
import re

import pytest

from podium.core import errors
from podium.core.errors import CallerError, OperatorError, PodiumError, RateLimited, ServiceError, UpstreamError
from podium.core.reasons import Fault, Reason

CLASSES = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, PodiumError)]
ABSTRACT = {PodiumError}

REQUIRED = {errors.MethodNotAllowed: {"allowed": ("GET",)}}


def test_all_errors_are_exported_and_drawn_in_the_tree():
    drawn = dict(re.findall(r"^ +[*+] (\w+) .*?(\d{3})?$", errors.__doc__, re.MULTILINE))

    assert set(drawn) == {one.__name__ for one in CLASSES} - {"PodiumError"}
    assert set(errors.__all__) == {one.__name__ for one in CLASSES}
    for one in CLASSES:
        if drawn.get(one.__name__):
            assert int(drawn[one.__name__]) == one.status


@pytest.mark.parametrize("error", [one for one in CLASSES if one not in ABSTRACT])
def test_every_error_knows_whose_fault_it_is_and_its_status(error):
    raised = error("what happened", **REQUIRED.get(error, {}))

    assert raised.fault in set(Fault) - {Fault.NOBODY}
    assert raised.reason in set(Reason) - {Reason.OK}
    assert 400 <= raised.status < 600
    assert (raised.status < 500) == (raised.fault == Fault.CALLER)
    assert str(raised) == raised.message == "what happened"


@pytest.mark.parametrize(
    ("family", "fault"),
    [
        (CallerError, Fault.CALLER),
        (ServiceError, Fault.PODIUM),
        (UpstreamError, Fault.UPSTREAM),
        (OperatorError, Fault.PODIUM),
    ],
)
def test_a_family_has_one_fault(family, fault):
    assert {one.fault for one in CLASSES if issubclass(one, family)} == {fault}


def test_what_one_error_says_stays_with_it():
    error = RateLimited(
        "Too many.", reason=Reason.TOKENS_LIMITED, hint="Raise it.", parameter="model", retry_after_s=2.5
    )

    assert (error.reason, error.hint, error.parameter, error.retry_after_s) == (
        "tokens_limited",
        "Raise it.",
        "model",
        2.5,
    )
    assert RateLimited("Too many.").reason == Reason.REQUESTS_LIMITED
    assert RateLimited("Too many.").retry_after_s is None


def test_reasons_are_words_for_labels_and_do_not_repeat():
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", reason) for reason in Reason)
    assert len({reason.value for reason in Reason}) == len(Reason.__members__)
