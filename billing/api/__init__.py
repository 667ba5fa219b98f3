"""Billing over HTTP, to read: why usage costs what it costs."""
