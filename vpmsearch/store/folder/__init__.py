"""The store in a folder: SQLite catalog, HDF5 embeddings, a FAISS index per region."""
