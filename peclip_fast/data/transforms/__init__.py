"""What is drawn and done to a clip: frames, augmentation, mixing."""
