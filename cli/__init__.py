"""The `imagefs` command: one module per verb; it only translates and knows no formats."""
