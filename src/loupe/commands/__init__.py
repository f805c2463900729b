"""The `loupe` command, one file a topic. A command imports what it runs when it runs, so that `loupe --help` is quick."""
