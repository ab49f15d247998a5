"""The page /api/docs, which describes the REST interface. It is made from the OpenAPI schema.

It has no script and loads nothing from other servers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>vpmsearch: REST interface</title>
  <link rel="icon" href="../static/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="../static/style.css">
</head>
<body>
  <header>
    <h1>REST interface</h1>
    <p class="quiet">vpmsearch {version} · <a href="../">the page</a> · <a href="openapi.json">OpenAPI schema</a></p>
  </header>
  <main class="reference">
{body}
  </main>
</body>
</html>
"""
_EXAMPLES = """curl -F photograph=@half.jpg -F regions=torso -F limit=5 {base}/api/search
curl -F photograph=@scene.jpg -F box=0.2,0.1,0.5,0.9 {base}/api/search
curl -H "Authorization: Bearer $VPMSEARCH_TOKEN" {base}/api/stats"""


def reference_page(schema: Schema, base: str) -> str:
    """The page as HTML.

    Args:
        schema: of the interface, OpenAPI 3.1. base: the server's address, which the examples show.
    """
    operations = [
        (method.upper(), path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    links = "".join(f'<li><a href="#{_anchor(m, p)}">{m} {escape(p)}</a></li>' for m, p, _ in operations)
    parts = [
        f"<section><p>{_text(schema['info'].get('description', ''))}</p>",
        f'<pre tabindex="0" aria-label="Examples">{escape(_EXAMPLES.format(base=base))}</pre>',
        f"<ul>{links}</ul></section>",
        *(_operation(schema, *each) for each in operations),
        "<section><h2>What is answered</h2>",
        *(_answer(schema, name, each) for name, each in _named(schema).items() if not name.startswith("Body_")),
        "</section>",
    ]
    return _PAGE.format(version=escape(schema["info"]["version"]), body="\n".join(parts))


def _operation(schema: Schema, method: str, path: str, operation: Schema) -> str:
    rows = [
        (
            each["name"],
            f"{_kind(each['schema'])}, in the {each['in']}",
            bool(each.get("required")),
            each["schema"],
            each,
        )
        for each in operation.get("parameters", ())
    ]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        body = _resolved(schema, content["schema"])
        needed = body.get("required", ())
        for name, field in body.get("properties", {}).items():
            rows.append((name, f"{_kind(field)}, in the form", name in needed, field, field))
    fields = [
        (escape(name), escape(kind), _default(needed, field), _text(told.get("description", "")))
        for name, kind, needed, field, told in rows
    ]
    answers = [
        (escape(status), _text(answer.get("description", "").replace("Successful Response", "Done")), _contents(answer))
        for status, answer in operation.get("responses", {}).items()
    ]
    return (
        f'<section><h2 id="{_anchor(method, path)}"><code>{method} {escape(path)}</code></h2>'
        + "".join(f"<p>{_text(part)}</p>" for part in operation.get("description", "").split("\n\n"))
        + (_table(f"Fields of {method} {path}", ("Field", "Type", "Default", "Meaning"), fields) if fields else "")
        + _table(f"Answers of {method} {path}", ("Status", "When", "Holds"), answers)
        + "</section>"
    )


def _answer(schema: Schema, name: str, found: Schema) -> str:
    fields = [
        (escape(field), escape(_kind(value)), _text(value.get("description", "")))
        for field, value in found.get("properties", {}).items()
    ]
    told = f"<p>{_text(found.get('description', ''))}</p>"
    return f'<h3 id="{escape(name)}">{escape(name)}</h3>{told}{_table(name, ("Field", "Type", "Meaning"), fields)}'


def _table(label: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    body = "".join(
        f'<tr><th scope="row"><code>{row[0]}</code></th>{"".join(f"<td>{each}</td>" for each in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table><thead><tr>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def _kind(field: Schema) -> str:
    """The type of a field in words."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_kind(each) for each in field["anyOf"] if each.get("type") != "null"))
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if field.get("type") == "array":
        return f"{_kind(field.get('items', {}))}, several"
    if field.get("contentMediaType") or field.get("format") == "binary":
        return "file"
    return str(field.get("format") or field.get("type", "any"))


def _default(needed: bool, field: Schema) -> str:
    if needed:
        return "needed"
    value = field.get("default")
    return (
        ""
        if value in (None, "")
        else f"<code>{escape(str(value).lower() if value in (True, False) else str(value))}</code>"
    )


def _contents(answer: Schema) -> str:
    told = []
    for kind, content in answer.get("content", {}).items():
        name = str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]
        told.append(f'<a href="#{escape(name)}">{escape(name)}</a>' if name else escape(kind))
    return ", ".join(told)


def _resolved(schema: Schema, found: Schema) -> Schema:
    name = str(found.get("$ref", "")).rpartition("/")[2]
    named: Schema = _named(schema)[name] if name else found
    return named


def _named(schema: Schema) -> Schema:
    found: Schema = schema.get("components", {}).get("schemas", {})
    return found


def _anchor(method: str, path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{method}{path}".lower()).strip("-")


def _text(text: str) -> str:
    """Text as HTML. Backticks enclose code."""
    return "".join(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    for number, piece in enumerate(text.split("`")):
        yield f"<code>{escape(piece)}</code>" if number % 2 else escape(piece)
