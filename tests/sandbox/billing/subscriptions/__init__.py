"""Subscriptions: start, changes with proration, renewal, trials, pauses, ends, schedules, and what would happen."""
