"""A page and a REST interface over one index, safe by default; `vpmsearch serve` starts it.

    settings     who may ask, how much and how often
    service      an index and its model, shared by requests; knows no HTTP
    pictures     of images of the index and parts of photographs; recent keeps those asked for last
    guard        refuses before anything is read: foreign hosts and pages, missing tokens, floods, large bodies
    asking       who asks: the address behind a trusted proxy, the token or a session (sessions)
    allowances   how often one may ask
    connections  uvicorn's HTTP/1.1 with an end to waiting for the head of a request
    metrics      what Prometheus reads; access_log: a line of JSON a request
    fields       what the fields of a request mean
    schemas      what goes over the wire; answers fills them, problems are its errors
    waiting      the line in which searches stand
    responding   how endpoints respond: in turn, in lines of JSON, or with a picture
    endpoints    what is under /api; reference describes it on a page
    app          the application; running listens and serves until told to stop
    static/      the page: HTML, CSS and JavaScript without a build step, nothing loaded from elsewhere

Needs the extra `vpmsearch[web]` (docs/decisions/0006-web.md).
"""
