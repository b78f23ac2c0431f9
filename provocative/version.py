"""The version of the client and of its command line."""

VERSION = "0.1.0"
