"""Text to vectors: the bundled model, model servers, and fastembed's models."""

from app.providers.embedding.bundled import BundledEmbedder
from app.providers.embedding.choice import identity_of, open_embedder

__all__ = ["BundledEmbedder", "identity_of", "open_embedder"]
