"""What FineCLIPER sees of a face besides its frames: landmarks and regions."""
