"""The command line, `rosenblatt`."""
