"""The configuration: one TOML file and the environment in, frozen values out, or every error at once."""
