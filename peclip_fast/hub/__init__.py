"""Saved models on the Hugging Face Hub, and the card that each of them carries."""
