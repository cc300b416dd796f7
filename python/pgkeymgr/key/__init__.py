"""The key table: data keys stored only wrapped, who may use them, and what is encrypted with them."""
