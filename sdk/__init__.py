"""What the engine's neighbours embed: `sdk.client` in a device, `sdk.backend` in an IM backend.

The two know nothing of each other, and neither knows anything of this project but `schemas`.
"""
