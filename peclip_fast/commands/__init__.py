"""The commands, one file each, found when they are asked for."""
