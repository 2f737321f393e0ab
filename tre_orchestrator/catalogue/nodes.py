"""YAML text to plain values, with the line of every field.

Only the types of the YAML core are made (text, numbers, booleans, null, dates, lists, objects). The text is looked at
event by event before anything is built, so depth, number of nodes and aliases are limited whatever it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

DEPTH_MAX = 20
NODES_MAX = 50_000
ALIASES_MAX = 100
_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")}


class YamlError(Exception):
    """What is wrong with the text, at which line (from 1) and field."""

    def __init__(self, line: int, field: str, reason: str) -> None:
        super().__init__(reason)
        self.line, self.field, self.reason = line, field, reason


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: its value, the line it begins at, the line of each field, and what is wrong with it."""

    data: Any
    line: int
    lines: dict[str, int]
    faults: tuple[YamlError, ...]


def documents(raw: bytes) -> list[Document]:
    """The documents of a YAML file; empty ones are left out. Raises `YamlError` where the text is not YAML at all."""
    try:
        text = raw.decode("utf-8")
        _check_limits(text)
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except UnicodeDecodeError as error:
        raise YamlError(raw[: error.start].count(b"\n") + 1, "", "is not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, "", f"is not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise YamlError(1, "", f"is not YAML: {error}") from error
    return [_Builder().document(node) for node in nodes if node is not None and not _is_empty(node)]


def _check_limits(text: str) -> None:
    depth = nodes = aliases = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        nodes += isinstance(event, yaml.NodeEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_MAX:
            raise YamlError(line, "", f"is nested more than {DEPTH_MAX} levels deep")
        if aliases > ALIASES_MAX:
            raise YamlError(line, "", f"uses more than {ALIASES_MAX} aliases")
        if nodes > NODES_MAX:
            raise YamlError(line, "", f"has more than {NODES_MAX} values")


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null"


@dataclass
class _Builder:
    """Turns one document's nodes into values. An alias counts anew each time it is used, so it cannot explode."""

    lines: dict[str, int] = field(default_factory=dict)
    faults: list[YamlError] = field(default_factory=list)
    built: int = 0

    def document(self, node: Node) -> Document:
        try:
            data = self._value(node, "", 0)
        except YamlError as fault:
            data = None
            self.faults.append(fault)
        return Document(data, node.start_mark.line + 1, self.lines, tuple(self.faults))

    def _value(self, node: Node, path: str, depth: int) -> Any:
        line = node.start_mark.line + 1
        self.built += 1
        if self.built > NODES_MAX or depth > DEPTH_MAX:
            raise YamlError(line, path, "becomes too large when its aliases are written out")
        match node:
            case ScalarNode():
                return self._scalar(node, path)
            case SequenceNode():
                return [
                    self._value(item, self._at(f"{path}[{i}]", item), depth + 1) for i, item in enumerate(node.value)
                ]
            case MappingNode():
                return dict(self._pairs(node, path, depth))
        raise YamlError(line, path, "is of a kind that is not allowed here")

    def _at(self, path: str, node: Node) -> str:
        self.lines[path] = node.start_mark.line + 1
        return path

    def _pairs(self, node: MappingNode, path: str, depth: int) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self.faults.append(YamlError(line, path, "a key must be one word"))
                continue
            key = key_node.value
            below = f"{path}.{key}" if path else key
            if key in seen:
                self.faults.append(YamlError(line, below, f"stands twice; first in line {seen[key]}"))
                continue
            seen[key] = line
            yield key, self._value(value_node, self._at(below, key_node), depth + 1)

    def _scalar(self, node: ScalarNode, path: str) -> Any:
        line = node.start_mark.line + 1
        if node.tag not in _SCALARS:
            self.faults.append(YamlError(line, path, f"the tag {node.tag} is not allowed"))
            return None
        try:
            return SafeConstructor().construct_object(node, deep=True)
        except (ValueError, yaml.YAMLError) as error:
            self.faults.append(YamlError(line, path, f"'{node.value}' is not a valid value ({error})"))
            return None
