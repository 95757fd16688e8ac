"""3.4 Zero-shot and prompts."""
