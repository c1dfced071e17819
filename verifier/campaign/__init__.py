"""The campaign that states the rule's error rates: conditions, designs, requirements, tables and a plot."""
