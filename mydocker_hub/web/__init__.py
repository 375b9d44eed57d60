"""What all pages share: languages, base handler, errors, service application."""
