"""The key table: data keys, stored only wrapped, the grants of their use, and the tokens that they encrypt."""
