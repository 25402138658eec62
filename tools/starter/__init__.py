"""Makes the starter checkpoint: a small Stable Diffusion trained on openly licensed emoji pictures.

`python -m tools.starter --out DIR` runs every stage; each can be run alone. Nothing here is imported by the web UI.
"""
