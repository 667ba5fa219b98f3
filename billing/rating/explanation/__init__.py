"""Why usage costs what it costs: from an invoice line down to one event, as data, as JSON, as text and as a page."""
