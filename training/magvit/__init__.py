"""MAGVIT (CVPR 2023) in PyTorch: the training side of libmagvit."""
