"""The models: methods on open_clip backbones, and their files."""
