"""Loupe: a reproducible study workbook about reading faces with few labels."""

__version__ = "0.1.0"
