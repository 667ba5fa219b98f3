"""Metering's pages: usage to read and search, and quarantined events to replay."""

from metering.admin import events, imports, meters, quarantine, windows

__all__ = ["events", "imports", "meters", "quarantine", "windows"]
