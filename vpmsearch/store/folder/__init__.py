"""The folder store: SQLite catalog, HDF5 embeddings, a FAISS index per region."""
