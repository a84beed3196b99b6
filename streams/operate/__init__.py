"""What people and scripts do."""
