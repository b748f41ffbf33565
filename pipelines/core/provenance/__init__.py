"""What a result depends on: plan, data, code, machine, versions."""
