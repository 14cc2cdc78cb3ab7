"""The version, where packages below the public face can read it."""

__version__ = "0.1.0"
