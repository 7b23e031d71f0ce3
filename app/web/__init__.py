"""Static files that the service hands out."""
