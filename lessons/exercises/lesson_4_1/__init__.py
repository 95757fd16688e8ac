"""4.1 CLIPSeg."""
