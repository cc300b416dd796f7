"""What pgkeymgr's predecessors had, over the key table; the rest of the package does not know of it."""
