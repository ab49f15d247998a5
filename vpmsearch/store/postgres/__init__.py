"""Galleries beyond one folder: the same store on PostgreSQL with pgvector. See docs/decisions/0010-postgres.md.

`vpmsearch.store.open` chooses between this and the embedded store. Needs the extra: pip install 'vpmsearch[postgres]'.
"""
