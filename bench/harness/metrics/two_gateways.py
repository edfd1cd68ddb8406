"""Two gateways on two cores beside one: how many requests more, and what the load takes of the same cores."""

from dataclasses import replace

from harness.contestants.base import Contestant, running
from harness.contestants.podium_scale import PodiumOneGateway
from harness.lab import Lab, Loads
from harness.machine import tree_cpu_s
from harness.metrics.base import START_S, Outcome, check_answer, failures, made_for, served_by_mock
from harness.request import chat_request

__all__ = ["TwoGateways"]

_CONNECTIONS = 64  # to each gateway


class TwoGateways:
    """wrk to each gateway. With two, load and provider run on both cores, and take of both what they need."""

    name = "two-gateways"
    rounds = 5

    def lasts_s(self, loads: Loads) -> float:
        return loads.warm_s + loads.requests_s + START_S

    def takes(self, contestant: Contestant) -> bool:
        return made_for(contestant, self.name)

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - rounds are alike
        assert isinstance(contestant, PodiumOneGateway)
        place, two = lab.place, contestant.gateways == 2
        with lab.json_mock(everywhere=two) as mock, running(contestant, place) as gateway:
            check_answer(gateway)
            requests = [chat_request(place.port, contestant.headers())]
            if two:
                check_answer(replace(gateway, place=replace(place, port=place.second_port)))
                requests.append(chat_request(place.second_port, contestant.headers()))
            warm_s = max(1, round(lab.loads.warm_s))
            lab.wrk_each(requests, seconds=warm_s, connections=_CONNECTIONS, everywhere=two)
            served, mock_cpu_s, watch = served_by_mock(lab), tree_cpu_s(mock.pid), lab.watch(gateway)
            result = lab.wrk_each(requests, seconds=lab.loads.requests_s, connections=_CONNECTIONS, everywhere=two)
            reading = watch.read()
            mock_cpu_s = tree_cpu_s(mock.pid) - mock_cpu_s
            relayed = served_by_mock(lab) - served
        problems = failures(result.failed, result.answered + result.failed, "requests failed")
        problems += failures(
            max(result.answered - relayed, 0), result.answered, "answers did not come from the provider"
        )
        answered = max(result.answered, 1)
        cpu_us = (reading.gateway_cpu_s + reading.side_cpu_s) / answered * 1e6
        values = {
            "requests_per_s": result.answered / result.seconds,
            "allowed_per_s": contestant.gateways * 1e6 / max(cpu_us, 1e-9),
            "cpu_us": cpu_us,
            "gateway_cores": (reading.gateway_cpu_s + reading.side_cpu_s) / reading.seconds,
            "load_cores": (result.cpu_s + mock_cpu_s) / reading.seconds,
        }
        return Outcome(values, problems, reading)
