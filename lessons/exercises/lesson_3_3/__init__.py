"""3.3 Training CLIP."""
