"""How dates are written on every page: without doubt about order, with the zone, in 24 hours."""
