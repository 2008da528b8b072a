"""The version that replies and files are stamped with; pyproject.toml says the same."""

VERSION = "0.1.0"
