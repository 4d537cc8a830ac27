"""The documentation of the REST contract: its forms as models, its scenarios as examples. No answer goes through it."""
