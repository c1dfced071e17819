"""Where a re-run happens: in this process, in a keyless one beside it, or on the machines of a cluster."""
