"""5.3 Matcher."""
