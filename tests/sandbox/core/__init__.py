"""What every resource rests on: the document, parameters, store, clock, lists, errors. Knows nothing of billing."""
