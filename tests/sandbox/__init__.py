"""A stand-in for Stripe, held to Stripe's own OpenAPI document.

A development tool in a process of its own: production code never imports it.
"""
