"""The contract: values, pure functions both ends must compute alike, and the wire format.

Nothing here does I/O, reads a clock or draws a random number. Servers and SDK import it; it imports
only the standard library, msgspec and orjson.
"""
