"""Metering's pages: usage to read and search, and quarantined events to replay."""

from metering.admin import alarms, archives, corrections, events, imports, meters, pace, quarantine, windows

__all__ = ["alarms", "archives", "corrections", "events", "imports", "meters", "pace", "quarantine", "windows"]
