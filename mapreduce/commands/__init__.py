"""The subcommands of `mr`, one module each, each with a `command`."""
