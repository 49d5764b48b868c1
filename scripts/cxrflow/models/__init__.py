"""Networks and their training: backbones, inits, augmentation, the loop, checkpoints."""
