"""What exported files give and how long they take, next to their models."""
