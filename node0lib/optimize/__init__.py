"""What should change next? Knobs, search, estimate, risk."""
