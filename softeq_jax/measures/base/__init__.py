"""What all measures build on: layouts, generators and their action, stencils, options, calls."""
