"""The firewall: rules files, what they match, limits, learned statements."""
