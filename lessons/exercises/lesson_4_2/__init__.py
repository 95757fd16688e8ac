"""4.2 Training CLIPSeg."""
