"""Installing the library as its users do, in new environments."""
