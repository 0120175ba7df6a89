"""The neutral language: what is asked and answered, whatever the wire says. No I/O, no clock."""

from holdfast.model.usage import Usage

__all__ = ["Usage"]
