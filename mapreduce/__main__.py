"""`python -m mapreduce`: the command `mr` of this very Python."""

from mapreduce.cli import main

main()
