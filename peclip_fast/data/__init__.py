"""Video and frames in: datasets, lists, sampling, decoding, augmentation, batches."""
