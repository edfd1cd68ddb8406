"""The figures of the results page, and the aims that some of them have."""

from dataclasses import dataclass

__all__ = ["AIM_GROUPS", "FIGURES", "METRIC_TITLES", "NOTES", "Aim", "Figure"]

ONE_BACKEND, MANY_BACKENDS, SCALE, ROLLOUTS, TRANSLATION, ENGINE = AIM_GROUPS = (
    "One backend",
    "Many backends",
    "Limits, overload, many keys, many gateways",
    "Rollouts, experiments, flags",
    "Translation",
    "Embedded engine",
)


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound of a figure: of its ratio to `beside` (a contestant), or of the figure itself when that is None.

    `subject`: the contestant that it is for, and no other.
    """

    bound: float
    beside: str | None = None
    beyond: float | None = None  # a further bound that is hoped for
    subject: str = "podium"
    group: str = ONE_BACKEND

    def says(self, figure: "Figure") -> str:
        """The aim in words."""
        side = "at least" if figure.more_is_better else "at most"
        of = f" of {self.beside}'s" if self.beside else f" {figure.unit}".rstrip()
        beyond = f" (beyond: {self.beyond:g})" if self.beyond is not None else ""
        return f"{side} {self.bound:g}{of}{beyond}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the results page."""

    metric: str
    value: str
    title: str
    unit: str
    digits: int
    more_is_better: bool = False
    aims: tuple[Aim, ...] = ()
    ratio: bool = True  # whether a ratio between contestants says anything


METRIC_TITLES = {
    "requests": "Requests a second: non-streamed chat, 64 connections",
    "latency": "Latency at 200 requests a second",
    "streams": "Fast streams: 32 at a time, 100 events each, relayed untouched",
    "translation": "Streams between callers and providers of different APIs: 32 at a time, 100 events of content each",
    "paced": "5,000 paced streams, one event in 200 ms each",
    "start": "Start and rest",
    "soak": "Memory after 50,000 and after 300,000 exchanges",
    "failover-soak": "Memory after 50,000 and after 300,000 exchanges, four backends",
    "slow": "One slow backend of four: 2 s later than the others (median 200 ms, p99 500 ms), 50 streams a second",
    "choice": "Choosing among 1,000 backends, the place taken and given back",
    "rollouts": "Choosing a version by rollout, experiment and flags; a look at a rollout of 10 million exchanges",
    "keys": "1,000,000 keys and 10,000 models beside ten: non-streamed chat, 64 connections",
    "overload": "Ten times the capacity of a pool that works on 20 requests at a time, 100 ms each",
    "two-gateways": "Two gateways on two cores beside one: non-streamed chat, 64 connections to each",
    "engine": "Embedded engine: tokens a second through Podium and from the worker directly",
}

# What a reader of a table must know.
NOTES = {
    "translation": (
        "The stream mock and the client share the load core and set the pace of untranslated streams; where that core"
        " was full, the rate seen flatters translation, so the aim is on both: on the rate seen, and on the rate that"
        " the gateway's core allows, which is CPU per event untranslated over CPU per event translated."
    ),
    "paced": (
        "RSS per open stream is the growth from before to 5,000 open, divided by 5,000: the caller's connection, the"
        " provider's and all that is known of the exchange. RSS per idle connection is what is left of the growth when"
        " all streams have ended, divided by the connections that are kept: an upper bound, since an allocator does"
        " not give everything back."
    ),
    "keys": (
        "Each request has a key and a model of its own, drawn evenly from all that there are, so that with a million"
        " keys nearly every one is the first of its key; then drawn from ten of them, which shows what the size alone"
        " costs. Memory is read at the end, when the gateway has loaded two snapshots: that of the disk, and the one"
        " that control published when it started; the peak is the most that was resident at any moment until then."
    ),
    "overload": (
        "Open loop, for each setting at half of the capacity and then at ten times; capacity is places over service"
        " time, 200/s. Goodput is answers in the counted time. Time runs from when a request was due, so it includes"
        " by how much the generator was late. `places`: the model is told how many requests may run;"
        " `found`: the gateway finds it out (`concurrency`, its defaults)."
    ),
    "two-gateways": (
        "With two gateways, load and provider have no core to themselves: what they take is missing for the gateways."
        " So the rate that is seen is less than twice as much even if the gateways did not disturb each other at all."
        " The rate that their own CPU time allows is gateways over CPU per request: what two cores would do if the"
        " load came from elsewhere."
    ),
    "choice": "The gateway's own pool with breakers on, each choice with another tenant, session, prompt and time.",
    "rollouts": (
        "Timed is all that an exchange pays: the flag that bounds the context, the flag that lets it into the rollout,"
        " the segment, the subject's bucket, the choice. `alone`: nothing else is declared; `beside 1,000`: the same"
        " model in a world of 1,000 rollouts and 1,000 flags; `among 1,000`: each exchange for another model, drawn"
        " evenly from them: none takes more steps, but little of what each needs is in the processor's caches. A look"
        " reads the sums and judges them; it is the median of five."
    ),
}

_ENGINE_AIM = Aim(0.95, "worker", subject="podium-engine", group=ENGINE)
_TRANSLATION_AIM = Aim(0.4, subject="podium-translation", group=TRANSLATION)
_SLOW_AIM = Aim(1.5, subject="podium-slow", group=MANY_BACKENDS)
_SOAK_AIM = Aim(1.05, subject="podium-failover", group=MANY_BACKENDS)
_CHOICE_AIM = Aim(10.0, group=MANY_BACKENDS)
_VERSION_AIM = Aim(8.0, group=ROLLOUTS)
_LOOK_AIM = Aim(1.0, group=ROLLOUTS)
_KEYS_AIM = Aim(0.9, "podium-few-keys", subject="podium-many-keys", group=SCALE)
_MEMORY_AIM = Aim(1500, subject="podium-many-keys", group=SCALE)
_TWO_AIM = Aim(1.7, "podium-one-gateway", subject="podium-two-gateways", group=SCALE)
_STRATEGIES = (
    "round_robin",
    "weighted_round_robin",
    "least_in_flight",
    "response_time",
    "lowest_cost",
    "prefix_affinity",
    "session_affinity",
)
_SETTINGS = {
    "healthy": "no backend slow",
    "round_robin": "round robin",
    "response_time": "response time",
    "hedged": "response time and hedging",
}


def _translation() -> tuple[Figure, ...]:
    ways = {
        "plain": "untranslated",
        "from_anthropic": "OpenAI caller, Anthropic provider",
        "to_messages": "Messages caller, OpenAI provider",
    }
    figures = []
    for way, title in ways.items():
        figures += [
            Figure("translation", f"{way}_events_per_s", f"{title}: events/s", "1/s", 0, ratio=False),
            Figure("translation", f"{way}_cpu_us", f"{title}: CPU per event", "µs", 1, ratio=False),
            Figure("translation", f"{way}_load_core", f"{title}: the load core was busy", "%", 0, ratio=False),
        ]
        if way != "plain":
            rate = f"{title}: event rate that the gateway's core allows, of untranslated"
            seen = f"{title}: event rate seen, of untranslated"
            figures += [
                Figure(
                    "translation",
                    f"{way}_of_cpu",
                    rate,
                    "",
                    2,
                    more_is_better=True,
                    aims=(_TRANSLATION_AIM,),
                    ratio=False,
                ),
                Figure(
                    "translation",
                    f"{way}_rate",
                    seen,
                    "",
                    2,
                    more_is_better=True,
                    aims=(_TRANSLATION_AIM,),
                    ratio=False,
                ),
            ]
    return tuple(figures)


def _slow() -> tuple[Figure, ...]:
    figures = []
    for setting, title in _SETTINGS.items():
        figures += [
            Figure("slow", f"{setting}_p50_ms", f"{title}: p50 of time to first content", "ms", 0, ratio=False),
            Figure("slow", f"{setting}_p99_ms", f"{title}: p99 of time to first content", "ms", 0, ratio=False),
            Figure(
                "slow",
                f"{setting}_slow_percent",
                f"{title}: share of the calls that went to that backend",
                "%",
                1,
                ratio=False,
            ),
        ]
    title = "one slow backend of four, response time and hedging: p99 of time to first content over the healthy p99"
    return (*figures, Figure("slow", "p99_ratio", title, "", 2, aims=(_SLOW_AIM,), ratio=False))


def _choice() -> tuple[Figure, ...]:
    return tuple(
        Figure("choice", f"{name}_us", f"choosing among 1,000: {name}", "µs", 1, aims=(_CHOICE_AIM,), ratio=False)
        for name in _STRATEGIES
    )


def _rollouts() -> tuple[Figure, ...]:
    places = {"alone": "alone", "beside": "beside 1,000", "among": "among 1,000"}
    kinds = {"canary": "a canary", "experiment": "an experiment"}
    databases = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
    return (
        *(
            Figure(
                "rollouts",
                f"{kind}_{place}_us",
                f"choosing a version by {title} and flags, {where}",
                "µs",
                1,
                aims=() if place == "among" else (_VERSION_AIM,),
                ratio=False,
            )
            for kind, title in kinds.items()
            for place, where in places.items()
        ),
        *(
            Figure(
                "rollouts",
                f"{name}_look_s",
                f"a look at a rollout of 10 million exchanges, {title}",
                "s",
                2,
                aims=(_LOOK_AIM,),
                ratio=False,
            )
            for name, title in databases.items()
        ),
    )


def _keys() -> tuple[Figure, ...]:
    figures = []
    for way, title in {"all": "each request another key and model", "ten": "ten of the keys and models"}.items():
        figures += [
            Figure("keys", f"{way}_per_s", f"{title}: requests/s", "req/s", 0, more_is_better=True, aims=(_KEYS_AIM,)),
            Figure("keys", f"{way}_cpu_us", f"{title}: CPU per request", "µs", 0),
            Figure("keys", f"{way}_p99_ms", f"{title}: p99 under full load", "ms", 2),
        ]
    return (
        *figures,
        Figure("keys", "memory_mb", "memory with a million keys", "MB", 0, aims=(_MEMORY_AIM,)),
        Figure("keys", "peak_mb", "peak of resident memory with a million keys", "MB", 0, aims=(_MEMORY_AIM,)),
        Figure("keys", "control_mb", "memory of `podium control`", "MB", 0),
        Figure("keys", "ready_s", "exec to ready", "s", 2),
    )


_OVERLOAD: tuple[tuple[str, str, str, int, float | None], ...] = (  # the last: the aim, for `places`
    ("goodput", "goodput, of the capacity", "", 2, 0.9),
    ("calm_told_percent", "refused at half of the capacity", "%", 1, None),
    ("calm_p99_ms", "p99 at half of the capacity", "ms", 1, None),
    ("p99_ms", "p99 of the served, flooded", "ms", 1, None),
    ("p99_ratio", "p99 of the served, flooded over half of the capacity", "", 2, 2.0),
    ("told_p50_ms", "refused within, p50", "ms", 1, None),
    ("told_p99_ms", "refused within, p99", "ms", 1, 50.0),
    ("told_worst_ms", "refused within, worst", "ms", 1, None),
    ("late_ms", "generator late, worst", "ms", 1, None),
)


def _overload() -> tuple[Figure, ...]:
    """The aims are for the places that the model is told; the others show how near it comes by itself."""
    return tuple(
        Figure(
            "overload",
            f"{setting}_{value}",
            f"{title}: {words}",
            unit,
            digits,
            more_is_better=value == "goodput",
            aims=() if bound is None or setting != "places" else (Aim(bound, subject="podium-narrow", group=SCALE),),
            ratio=False,
        )
        for setting, title in {"places": "places told", "found": "concurrency found"}.items()
        for value, words, unit, digits, bound in _OVERLOAD
    )


FIGURES = (
    Figure(
        "requests",
        "requests_per_s",
        "requests/s",
        "req/s",
        0,
        more_is_better=True,
        aims=(
            Aim(1.0, "vllm-router", 1.4),
            Aim(1.0, "vllm-router", subject="podium-failover", group=MANY_BACKENDS),
            Aim(0.9, "podium-single", subject="podium-failover", group=MANY_BACKENDS),
            Aim(0.85, "podium-unlimited", subject="podium-budgets", group=SCALE),
            Aim(1.0, "vllm-router", subject="podium-budgets", group=SCALE),
            Aim(0.5, "podium-unlimited", subject="podium-redis", group=SCALE),
            Aim(0.75, "podium-unlimited", subject="podium-redis-leases", group=SCALE),
        ),
    ),
    Figure("requests", "cpu_us", "CPU per request", "µs", 0),
    Figure("requests", "p50_ms", "p50 under full load", "ms", 2),
    Figure("requests", "p99_ms", "p99 under full load", "ms", 2),
    Figure("requests", "side_cpu_us", "CPU of its other processes per request", "µs", 0, ratio=False),
    Figure("requests", "store_calls", "calls of the shared store per request", "", 3, ratio=False),
    Figure("requests", "store_us", "time of the shared store per request", "µs", 0, ratio=False),
    Figure("latency", "p50_ms", "p50 at 200 req/s", "ms", 3, aims=(Aim(1.3, "vllm-router"),)),
    Figure("latency", "p99_ms", "p99 at 200 req/s", "ms", 3, aims=(Aim(1.5, "vllm-router"),)),
    Figure("latency", "cpu_us", "CPU per request", "µs", 0),
    Figure("streams", "cpu_us", "CPU per chunk", "µs", 1, aims=(Aim(2.0, "nginx"),)),
    Figure("streams", "events_per_s", "chunks/s", "1/s", 0, more_is_better=True),
    Figure("streams", "lost_events", "events lost", "", 0, ratio=False, aims=(Aim(0),)),
    Figure("paced", "held_percent", "events received of those due", "%", 1, more_is_better=True, ratio=False),
    Figure("paced", "lost_events", "events lost of 5,000 paced streams", "", 0, ratio=False, aims=(Aim(0),)),
    Figure("paced", "memory_mb", "memory with 5,000 streams open", "MB", 0, aims=(Aim(400),)),
    Figure("paced", "lag_p50_ms", "lag p50, provider's write to caller's read", "ms", 2),
    Figure("paced", "lag_p99_ms", "lag p99", "ms", 2),
    Figure("paced", "cpu_us", "CPU per event", "µs", 1),
    Figure("paced", "before_mb", "RSS before", "MB", 1, ratio=False),
    Figure("paced", "open_mb", "RSS with 5,000 streams open", "MB", 1, ratio=False),
    Figure("paced", "after_mb", "RSS after, connections to the provider kept idle", "MB", 1, ratio=False),
    Figure("paced", "stream_kb", "RSS per open stream, both connections included", "kB", 1, ratio=False),
    Figure("paced", "idle_connections", "connections to the provider that are kept idle", "", 0, ratio=False),
    Figure("paced", "idle_connection_kb", "RSS kept per idle connection to the provider", "kB", 1, ratio=False),
    *_translation(),
    Figure("start", "ready_s", "exec to ready", "s", 2, aims=(Aim(1.5),)),
    Figure("start", "idle_mb", "memory at rest (PSS)", "MB", 1, aims=(Aim(120),)),
    Figure("start", "idle_resident_mb", "memory at rest, shared pages counted whole (RSS)", "MB", 1),
    Figure("soak", "early_mb", "memory after 50,000", "MB", 1, ratio=False),
    Figure("soak", "late_mb", "memory after 300,000", "MB", 1, ratio=False),
    Figure("soak", "growth", "memory after 300,000 over that after 50,000", "", 3, ratio=False, aims=(Aim(1.05),)),
    Figure("soak", "early_resident_mb", "RSS after 50,000", "MB", 1, ratio=False),
    Figure("soak", "late_resident_mb", "RSS after 300,000", "MB", 1, ratio=False),
    Figure("failover-soak", "early_mb", "memory after 50,000", "MB", 1, ratio=False),
    Figure("failover-soak", "late_mb", "memory after 300,000", "MB", 1, ratio=False),
    Figure(
        "failover-soak",
        "growth",
        "memory after 300,000 over that after 50,000, four backends",
        "",
        3,
        ratio=False,
        aims=(_SOAK_AIM,),
    ),
    Figure("failover-soak", "early_resident_mb", "RSS after 50,000", "MB", 1, ratio=False),
    Figure("failover-soak", "late_resident_mb", "RSS after 300,000", "MB", 1, ratio=False),
    *_slow(),
    *_choice(),
    *_rollouts(),
    *_keys(),
    *_overload(),
    Figure("two-gateways", "requests_per_s", "requests/s", "req/s", 0, more_is_better=True, aims=(_TWO_AIM,)),
    Figure(
        "two-gateways",
        "allowed_per_s",
        "requests/s that the gateways' own CPU time allows",
        "req/s",
        0,
        more_is_better=True,
        aims=(_TWO_AIM,),
    ),
    Figure("two-gateways", "cpu_us", "CPU of the gateways per request", "µs", 0),
    Figure("two-gateways", "gateway_cores", "cores that the gateways used", "", 2, ratio=False),
    Figure("two-gateways", "load_cores", "cores that load and provider used", "", 2, ratio=False),
    Figure("engine", "tokens_per_s_1", "tokens/s, 1 chat", "1/s", 1, more_is_better=True, aims=(_ENGINE_AIM,)),
    Figure("engine", "tokens_per_s_8", "tokens/s, 8 chats", "1/s", 1, more_is_better=True, aims=(_ENGINE_AIM,)),
    Figure("engine", "tokens_per_s_32", "tokens/s, 32 chats", "1/s", 1, more_is_better=True, aims=(_ENGINE_AIM,)),
)
