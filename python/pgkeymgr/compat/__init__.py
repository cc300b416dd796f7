"""The functions of pgkeymgr's predecessors, over the key table. No other part of the package uses them."""
