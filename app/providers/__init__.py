"""Models: embeddings and answers."""
