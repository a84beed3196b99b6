"""JSON Schemas as TypeScript declarations: what a record may look like. Bounds and patterns have no type."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

Node = Mapping[str, Any]

_WORDS = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def declarations(models: Mapping[str, Node]) -> str:
    """Return the declarations of records by their topics: an interface each, and one that has them all by topic.

    Raises ValueError for a schema that says something of which no type is known here.
    """
    interfaces: dict[str, str] = {}
    for schema in models.values():
        for node in (*schema.get("$defs", {}).values(), schema):
            interfaces[node["title"]] = _interface(node)
    topics = "".join(f'  "{topic}": {schema["title"]}\n' for topic, schema in models.items())
    whole = f"/** The record of each topic. */\nexport interface Records {{\n{topics}}}\n"
    return "\n".join([*interfaces.values(), whole])


def _interface(node: Node) -> str:
    return f"{_comment(node, '')}export interface {node['title']} {_object(node, '')}\n"


def _object(node: Node, indent: str) -> str:
    inner, required = f"{indent}  ", node.get("required", ())
    lines = []
    for name, field in node["properties"].items():
        mark = "" if name in required else "?"
        lines.append(f"{_comment(field, inner)}{inner}{name}{mark}: {_type(field, inner)}\n")
    return f"{{\n{''.join(lines)}{indent}}}"


def _comment(node: Node, indent: str) -> str:
    text = " ".join(node.get("description", "").split())
    return f"{indent}/** {text} */\n" if text else ""


def _type(node: Node, indent: str) -> str:
    match node:
        case {"$ref": reference}:
            return str(reference).rpartition("/")[2]
        case {"const": value}:
            return json.dumps(value)
        case {"enum": values}:
            return _union(map(json.dumps, values))
        case {"anyOf": kinds}:
            return _union(_type(kind, indent) for kind in kinds)
        case {"type": "array", "items": items}:
            return f"Array<{_type(items, indent)}>"
        case {"type": "object", "properties": _}:
            return _object(node, indent)
        case {"type": "object"}:
            return "Record<string, unknown>"
        case {"type": word} if word in _WORDS:
            return _WORDS[word]
    raise ValueError(f"no type for {dict(node)}")


def _union(types: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(types))
