"""How fast, side by side: `python -m bench` runs servers in turn, and checks every answer."""
