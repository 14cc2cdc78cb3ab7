"""Stored vectors: embeddings kept in fewer bits, and what a search among them still finds."""
