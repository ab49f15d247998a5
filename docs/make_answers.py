"""Write docs/answers.md and answers.schema.json from vpmsearch.web.schemas; with --check, fail if they are stale."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpmsearch.search.answers import SCHEMA
from vpmsearch.web.schemas import SearchAnswer

FOLDER = Path(__file__).parent
REST_ALONE = ("offset", "more")
"""Fields of a page of ranks, which `query --json` has not."""
HEAD = f"""# Answers to a search

Made by `make docs` from `vpmsearch/web/schemas.py`; `make check` fails when it is stale.

Everything that answers a search tells the same under the same names: `vpmsearch query --json` (one line a query), REST
(`POST /api/search`), and in Python `SearchResult` and `Match`, whose attributes these are. `to_pandas()` has a row a
match, with `distance_i`, `weight_i` and `share_i` of each region i in place of `regions`, and a column an attribute.
Reports, panels and text show what people look for. `query --json` has no `{REST_ALONE[0]}` and `{REST_ALONE[1]}`.
REST gives paths without the folder that all images share.

This is version {SCHEMA} of the form, `schema` in each answer. The number grows when a field goes or changes its
meaning; fields may be added under the same number, so read those you know. [answers.schema.json](answers.schema.json)
is the same as JSON Schema. Version 1 had no `schema`; over REST `query_regions` was called `query`.
"""
TITLES = {
    "SearchAnswer": "An answer",
    "Hit": "A match: one of `matches`",
    "RegionPart": "A region of a match: one of `regions`",
    "QueryRegion": "A region of the query: one of `query_regions`",
    "NoMatch": "Why there are no matches: `empty`",
}


def schema() -> dict[str, Any]:
    """JSON Schema of an answer; other fields than those described are refused."""
    made = SearchAnswer.model_json_schema(by_alias=True, mode="serialization")
    for each in (made, *made["$defs"].values()):
        each["additionalProperties"] = False
    made["required"] = [name for name in made["required"] if name not in REST_ALONE]
    made["properties"]["schema"]["const"] = SCHEMA
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def page(made: Mapping[str, Any]) -> str:
    """The page as it should be."""
    parts = [HEAD]
    for name, title in TITLES.items():
        found = made if name == "SearchAnswer" else made["$defs"][name]
        rows = [
            f"| `{field}` | {kind_of(value)} | {value.get('description', '').replace('|', chr(92) + '|')} |"
            for field, value in found["properties"].items()
        ]
        parts.append("\n".join([f"## {title}\n", "| field | type | what it is |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def kind_of(value: Mapping[str, Any]) -> str:
    """The type of a field of a JSON Schema, in words."""
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(kind_of(each) for each in value["anyOf"]))
    if value.get("type") == "array":
        if "items" in value:
            return f"list of {kind_of(value['items'])}"
        return f"{len(value['prefixItems'])} of {kind_of(value['prefixItems'][0])}"
    if isinstance(value.get("additionalProperties"), dict):
        return f"object of {kind_of(value['additionalProperties'])}"
    name = value.get("$ref", "").rpartition("/")[2]
    return name or str(value.get("format", value.get("type", "any")))


if __name__ == "__main__":
    made = schema()
    wanted = {"answers.schema.json": json.dumps(made, indent=1, ensure_ascii=False) + "\n", "answers.md": page(made)}
    if "--check" not in sys.argv:
        for name, text in wanted.items():
            (FOLDER / name).write_text(text, encoding="utf-8")
    elif any(not (FOLDER / name).is_file() or (FOLDER / name).read_text("utf-8") != wanted[name] for name in wanted):
        sys.exit("docs/answers.md or docs/answers.schema.json is stale; run `make docs`")
