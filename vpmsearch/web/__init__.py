"""A page and a REST interface over one index, safe by default; `vpmsearch serve` starts it.

    settings    who may ask, how much and how often
    service     an index and its model, shared by requests; knows no HTTP
    guard       refuses before anything is read: foreign hosts and pages, missing tokens, floods, large bodies
    metrics     what Prometheus reads
    schemas     what goes over the wire
    app         the endpoints
    static/     the page: HTML, CSS and JavaScript without a build step, nothing loaded from elsewhere

Needs the extra `vpmsearch[web]` (docs/decisions/0006-web.md).
"""
