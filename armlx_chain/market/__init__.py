"""The bonding curve: quotes, and buying and selling within bounds."""
