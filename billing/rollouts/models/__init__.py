"""Proving a price before it is sold, and selling it step by step: one file for each noun."""
