"""What is measured: each module has ``measure(folder, runs)``, which returns its lines of the table."""
