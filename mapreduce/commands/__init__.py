"""The command `mr`: `main`, and its subcommands, one module each, each with a `command`."""
