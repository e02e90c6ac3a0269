"""How training and analysis grow with machines: measured at the small end, simulated beyond it."""
