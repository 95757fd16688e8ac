"""3.1 Byte pair encoding."""
