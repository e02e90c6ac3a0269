"""The options of our methods, one file each; PyTorch isn't needed to show or check them."""
