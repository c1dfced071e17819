"""Running a stranger's program: one interface, one back-end per system."""
