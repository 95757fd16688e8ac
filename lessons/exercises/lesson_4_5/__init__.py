"""4.5 Where LAVT fails."""
