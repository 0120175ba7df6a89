"""Holdfast: an LLM gateway and library that keeps its promises when providers fail."""

__all__ = ["__version__"]

__version__ = "0.1.0"
