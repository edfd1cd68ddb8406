"""Prometheus's text format.

Written here and not by the client library: with fifty models a page has 5,000 lines, for which the library holds the
event loop of the gateway for 40 ms and this module for 4 ms. The tests read it back with the library's parser.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Mapping

__all__ = ["Values", "family", "label_text"]

Values = Mapping[tuple[str, ...], float]  # by label values


def family(name: str, kind: str, help_text: str, labels: tuple[str, ...], values: Values) -> str:
    """A metric with one line for each label set. `kind`: counter or gauge."""
    lines = [f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n"]
    for key, value in values.items():
        where = f"{{{label_text(labels, key)}}}" if labels else ""
        lines.append(f"{name}{where} {value!r}\n" if type(value) is int else f"{name}{where} {float(value)!r}\n")
    return "".join(lines)


def label_text(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """What stands between the braces."""
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)])


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
