"""How rows are reached: connections, transactions, statements. Knows no domain and no request."""
