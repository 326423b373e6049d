"""Values to pictures and pages."""
