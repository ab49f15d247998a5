"""The server store: a gallery on PostgreSQL with pgvector, for what is beyond one folder.

`vpmsearch.store.open` chooses between the two stores. This one needs the extra: pip install 'vpmsearch[postgres]'.
Why it is built so: docs/decisions/0010-postgres.md.
"""
