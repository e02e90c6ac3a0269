"""What FineCLIPER sees of a face beside its frames: landmarks and regions."""
