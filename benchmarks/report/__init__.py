"""The documents' tables and plots, made from the results files."""
