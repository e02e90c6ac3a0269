"""What a run is made from: options, packaged recipes, the command line."""
